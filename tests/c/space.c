/* A data space is created, unlocked with what its file holds, used like any key, and rewrapped. */
#include <string.h>

#include "check.h"

static char file[4096];
static uint8_t protected_dek[1024], message[256], plaintext[64];
static const uint8_t TEXT[] = "Ada Lovelace", ROW[] = "row 1";

/* A place in the folder of the configuration. */
static const char *place(const char *name)
{
    const char *config = getenv("KEYSTEAD_CONFIG");
    snprintf(file, sizeof file, "%.*s%s", (int)(strrchr(config, '/') + 1 - config), config, name);
    return file;
}

static size_t read_file(const char *path)
{
    FILE *source = fopen(path, "rb");
    CHECK(source != NULL);
    size_t len = fread(protected_dek, 1, sizeof protected_dek, source);
    CHECK(fclose(source) == 0 && len > 100 && len < sizeof protected_dek);
    return len;
}

static void decrypts(const keystead_key *key, size_t message_len)
{
    size_t len;
    EXPECT(KEYSTEAD_OK, keystead_key_decrypt(key, message, message_len, ROW, sizeof ROW, plaintext, sizeof plaintext,
                                             &len, &error));
    CHECK(len == sizeof TEXT && memcmp(plaintext, TEXT, len) == 0);
}

static void streams(const keystead_key *key)
{
    static uint8_t stream[KEYSTEAD_STREAM_ROOM];
    keystead_encryptor *encryptor;
    keystead_decryptor *decryptor;
    size_t len;
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt_stream(key, ROW, sizeof ROW, &encryptor, &error));
    EXPECT(KEYSTEAD_OK, keystead_encryptor_finish(encryptor, stream, sizeof stream, &len, &error));
    EXPECT(KEYSTEAD_OK, keystead_key_decrypt_stream(key, stream, len, ROW, sizeof ROW, &decryptor, &error));
    keystead_decryptor_free(decryptor);
    keystead_encryptor_free(encryptor);
}

static void makes_kek(keystead_client *client, const char *name, const char *id)
{
    keystead_bytes *kek;
    EXPECT(KEYSTEAD_OK, keystead_client_create_kek(client, name, &kek, &error));
    CHECK(strcmp((const char *)keystead_bytes_data(kek), id) == 0);
    keystead_bytes_free(kek);
}

static void rewraps(keystead_client *client, const char *name, const char *id)
{
    keystead_bytes *kek;
    EXPECT(KEYSTEAD_OK, keystead_client_rewrap_space(client, name, place("orders.dek"), &kek, &error));
    CHECK(strcmp((const char *)keystead_bytes_data(kek), id) == 0);
    keystead_bytes_free(kek);
}

/* It was kept, and what the file protects goes on without it. */
static void discards_the_original(const keystead_client *client)
{
    keystead_key *key;
    EXPECT(KEYSTEAD_OK, keystead_client_create_space(client, "kept", "c-master", place("kept.dek"), 1, &key, &error));
    keystead_key_free(key);
    EXPECT(KEYSTEAD_OK, keystead_client_discard_original(client, "space:kept/1", &error));
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND, keystead_client_discard_original(client, "c-nobody/1", &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_discard_original(client, "kept", &error));
    EXPECT(KEYSTEAD_OK, keystead_client_create_space(client, "kept", "c-master", place("kept.dek"), 0, &key, &error));
    keystead_key_free(key);
}

/* The file is under "c-other/1", and then under its next version. */
static void ends_the_old_kek(keystead_client *client)
{
    keystead_bytes *kek;
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND, keystead_client_rotate_kek(client, "c-nobody", &kek, &error));
    CHECK(kek == NULL);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_revoke_kek(client, "c-other", KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    EXPECT(KEYSTEAD_E_KEY_REFERENCED, keystead_client_revoke_kek(client, "c-other/1", KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_rotate_kek(client, "c-other", &kek, &error));
    CHECK(strcmp((const char *)keystead_bytes_data(kek), "c-other/2") == 0);
    keystead_bytes_free(kek);
    rewraps(client, "c-other", "c-other/2");
    rewraps(client, "c-other", "c-other/2");
    EXPECT(KEYSTEAD_OK, keystead_client_add_kek_reference(client, "c-other/1", "the backup of May", &error));
    EXPECT(KEYSTEAD_E_KEY_REFERENCED, keystead_client_revoke_kek(client, "c-other/1", KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_remove_kek_reference(client, "c-other/1", "the backup of May", &error));
    EXPECT(KEYSTEAD_E_KEY_STATE, keystead_client_destroy_kek(client, "c-other/1", &error));
    EXPECT(KEYSTEAD_OK, keystead_client_revoke_kek(client, "c-other/1", KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_destroy_kek(client, "c-other/1", &error));
}

int main(void)
{
    keystead_client *client = open_client();
    keystead_key *key, *unlocked;
    keystead_bytes *json;
    size_t len, message_len;

    makes_kek(client, "c-master", "c-master/1");
    makes_kek(client, "c-master", "c-master/1");
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND,
           keystead_client_create_space(client, "orders", "c-nobody", place("orders.dek"), 0, &key, &error));
    CHECK(key == NULL);
    EXPECT(KEYSTEAD_OK, keystead_client_create_space(client, "orders", "c-master", place("orders.dek"), 0, &key, &error));
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, TEXT, sizeof TEXT, ROW, sizeof ROW, message, sizeof message,
                                             &message_len, &error));
    keystead_key_free(key);
    discards_the_original(client);
    EXPECT(KEYSTEAD_E_WRONG_KEY, keystead_client_decrypt(client, message, message_len, ROW, sizeof ROW, "*", plaintext,
                                                         sizeof plaintext, &len, &error));

    len = read_file(place("orders.dek"));
    EXPECT(KEYSTEAD_OK, keystead_protected_dek_inspect(protected_dek, len, &json, &error));
    CHECK(strstr((const char *)keystead_bytes_data(json), "\"kek\":\"c-master/1\"") != NULL);
    keystead_bytes_free(json);
    EXPECT(KEYSTEAD_E_WRONG_KEY, keystead_client_unlock_space(client, protected_dek, len, "others", &unlocked, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC,
           keystead_client_unlock_space(client, protected_dek, len - 1, "orders", &unlocked, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_unlock_space(client, protected_dek, len, "orders", &unlocked, &error));
    decrypts(unlocked, message_len);
    streams(unlocked);
    keystead_key_free(unlocked);

    makes_kek(client, "c-other", "c-other/1");
    rewraps(client, "c-other", "c-other/1");
    len = read_file(place("orders.dek"));
    EXPECT(KEYSTEAD_OK, keystead_client_unlock_space(client, protected_dek, len, "*", &unlocked, &error));
    decrypts(unlocked, message_len);
    ends_the_old_kek(client);
    keystead_key_free(unlocked);
    len = read_file(place("orders.dek"));
    EXPECT(KEYSTEAD_OK, keystead_client_unlock_space(client, protected_dek, len, "*", &unlocked, &error));
    decrypts(unlocked, message_len);
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_key_decrypt(unlocked, message, message_len, ROW, sizeof ROW, plaintext,
                                                   sizeof plaintext, &len, &error));
    keystead_key_free(unlocked);
    keystead_client_free(client);
    return 0;
}
