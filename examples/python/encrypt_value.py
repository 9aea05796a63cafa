"""Encrypts one value with a key of its own and decrypts it again.

python3 encrypt_value.py keystead.conf
"""

import sys

import keystead

with keystead.Client(sys.argv[1]) as client:
    key = client.create_key("customer-42")
    message = key.encrypt(b"Ada Lovelace", aad=b"customers/42/name")
    plaintext = client.decrypt(message, aad=b"customers/42/name", expect="customer-42")
    print(f"{plaintext.decode()} is {len(message)} bytes encrypted with {key.id}")
