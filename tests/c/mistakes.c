/* A mistake of the caller is a status, never a crash. Needs no key server. */
#include <string.h>

#include "check.h"

static void null_is_a_status_for_every_function(void)
{
    keystead_client *client = (keystead_client *)"untouched";
    keystead_key *key = (keystead_key *)"untouched";
    keystead_bytes *bytes = (keystead_bytes *)"untouched";
    size_t size = 9;

    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_open(NULL, &client, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_open("/nowhere", NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_close(NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_key(NULL, "name", &key, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_create_key(NULL, "name", &key, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_rotate_key(NULL, "name", &key, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_decrypt(NULL, NULL, 0, NULL, 0, "*", NULL, 0, &size, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_status(NULL, &bytes, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_quiesce(NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_reload(NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_key_id(NULL, &bytes, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_key_encrypt(NULL, NULL, 0, NULL, 0, NULL, 0, &size, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_key_decrypt(NULL, NULL, 0, NULL, 0, NULL, 0, &size, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_message_decrypted_size(NULL, 1, &size, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_message_key_id(NULL, 1, &bytes, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_message_inspect(NULL, 1, &bytes, &error));
    CHECK(keystead_key_encrypted_size(NULL, 1) == 0);
    CHECK(client == NULL && key == NULL && bytes == NULL && size == 0);

    CHECK(keystead_error_code(NULL) == KEYSTEAD_OK);
    CHECK(strcmp(keystead_error_message(NULL), "") == 0);
    CHECK(strcmp(keystead_error_detail(NULL), "") == 0);
    CHECK(keystead_error_is_retryable(NULL) == 0);
    CHECK(keystead_bytes_data(NULL) == NULL && keystead_bytes_len(NULL) == 0);
    keystead_client_free(NULL);
    keystead_key_free(NULL);
    keystead_bytes_free(NULL);
    keystead_error_free(NULL);
}

static void what_is_not_a_message_is_not_authentic(void)
{
    const uint8_t noise[] = {0xd8, 0x60, 0x84, 0x43, 0xa1};
    keystead_bytes *bytes;
    size_t size;
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_message_decrypted_size(noise, sizeof noise, &size, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_message_key_id(noise, sizeof noise, &bytes, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_message_inspect(noise, sizeof noise, &bytes, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_message_inspect(NULL, 0, &bytes, &error));
}

static void an_error_says_what_happened(void)
{
    keystead_client *client;
    keystead_error *error;
    CHECK(keystead_client_open("/nowhere/keystead.conf", &client, NULL) == KEYSTEAD_E_CONFIG_UNREADABLE);
    CHECK(keystead_client_open("/nowhere/keystead.conf", &client, &error) == KEYSTEAD_E_CONFIG_UNREADABLE);
    CHECK(client == NULL);
    CHECK(keystead_error_code(error) == KEYSTEAD_E_CONFIG_UNREADABLE);
    CHECK(strstr(keystead_error_message(error), "/nowhere/keystead.conf") != NULL);
    CHECK(strstr(keystead_error_detail(error), "\"CONFIG_UNREADABLE\"") != NULL);
    CHECK(strchr(keystead_error_detail(error), '\n') == NULL);
    CHECK(keystead_error_is_retryable(error) == 0);

    /* An error is not a client, a key or bytes, and the wrong function does not free it. */
    CHECK(keystead_client_quiesce((const keystead_client *)error, NULL) == KEYSTEAD_E_INVALID_HANDLE);
    CHECK(keystead_key_encrypted_size((const keystead_key *)error, 1) == 0);
    CHECK(keystead_bytes_data((const keystead_bytes *)error) == NULL);
    keystead_client_free((keystead_client *)error);
    keystead_key_free((keystead_key *)error);
    keystead_bytes_free((keystead_bytes *)error);
    CHECK(keystead_error_code(error) == KEYSTEAD_E_CONFIG_UNREADABLE);
    keystead_error_free(error);
}

static void names_and_version_are_text(void)
{
    CHECK(strcmp(keystead_status_name(KEYSTEAD_OK), "KEYSTEAD_OK") == 0);
    CHECK(strcmp(keystead_status_name(KEYSTEAD_E_FORKED), "KEYSTEAD_E_FORKED") == 0);
    CHECK(strcmp(keystead_status_name(-1), "unknown status") == 0);
    CHECK(strchr(keystead_version(), '.') != NULL);
}

int main(void)
{
    null_is_a_status_for_every_function();
    what_is_not_a_message_is_not_authentic();
    an_error_says_what_happened();
    names_and_version_are_text();
    return 0;
}
