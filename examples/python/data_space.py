"""Encrypts with the key of a data space, which is kept beside the data.

Run: KEYSTEAD_CONFIG=… python data_space.py FOLDER
"""

import os
import sys
from pathlib import Path

import keystead

folder = Path(sys.argv[1])
protected_dek = folder / "orders.dek"

with keystead.Client(os.environ["KEYSTEAD_CONFIG"]) as client:
    # Once, when the application is installed. Repeating it does no harm.
    client.create_kek("master")
    client.create_space("orders", protected_dek, kek="master")

    # Each time it starts: the key manager decrypts the key, which is then in memory alone.
    key = client.unlock_space(protected_dek.read_bytes(), expect="orders")
    (folder / "4711.cose").write_bytes(key.encrypt(b"two dozen", aad=b"orders/4711/amount"))

    print("unlocked", key.id, "and wrote", folder / "4711.cose")
    print(key.decrypt((folder / "4711.cose").read_bytes(), aad=b"orders/4711/amount").decode())

    # Now and then, with a new version of the KEK (keystead key rotate --kek master). The data stays as it is.
    client.rewrap_space(protected_dek, kek="master")
