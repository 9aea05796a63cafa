/* A key encrypts into the caller's buffer, and only the right key with the right context opens what it wrote. */
#include <string.h>

#include "check.h"

enum { LARGEST = 1 << 20 };
static const uint8_t ROW[] = "customers/42/email", OTHER_ROW[] = "customers/43/email";
static const uint8_t TEXT[] = "Zo\xc3\xab <zoe@example.com>";

struct message {
    uint8_t data[512];
    size_t len;
};

static struct message encrypt_text(const keystead_key *key)
{
    struct message message;
    CHECK(keystead_key_encrypted_size(key, sizeof TEXT) <= sizeof message.data);
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, TEXT, sizeof TEXT, ROW, sizeof ROW, message.data,
                                             sizeof message.data, &message.len, &error));
    CHECK(message.len == keystead_key_encrypted_size(key, sizeof TEXT));
    return message;
}

static int is_zero(const uint8_t *data, size_t len)
{
    while (len > 0 && data[len - 1] == 0)
        len--;
    return len == 0;
}

static void every_size_comes_back(const keystead_key *key)
{
    const size_t sizes[] = {0, 1, 31, 32, 33, 255, 256, 4095, 65535, 65536, 65537, LARGEST};
    uint8_t *plaintext = malloc(LARGEST), *message = malloc(LARGEST + 1024), *again = malloc(LARGEST);
    CHECK(plaintext != NULL && message != NULL && again != NULL);
    for (size_t i = 0; i < LARGEST; i++)
        plaintext[i] = (uint8_t)(i * 7 + (i >> 8));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = keystead_key_encrypted_size(key, sizes[i]), message_len, plaintext_len;
        CHECK(size > sizes[i] && size <= sizes[i] + 192);
        EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, plaintext, sizes[i], NULL, 0, message, size, &message_len, &error));
        CHECK(message_len == size);
        EXPECT(KEYSTEAD_OK, keystead_message_decrypted_size(message, message_len, &plaintext_len, &error));
        CHECK(plaintext_len == sizes[i]);
        memset(again, 0xee, LARGEST);
        EXPECT(KEYSTEAD_OK, keystead_key_decrypt(key, message, message_len, NULL, 0, again, sizes[i], &plaintext_len,
                                                 &error));
        CHECK(plaintext_len == sizes[i] && memcmp(again, plaintext, sizes[i]) == 0);
    }
    CHECK(keystead_key_encrypted_size(key, SIZE_MAX) == 0);
    free(plaintext);
    free(message);
    free(again);
}

static void a_small_buffer_is_told_the_size_and_nothing_else(const keystead_client *client, const keystead_key *key)
{
    struct message message = encrypt_text(key);
    uint8_t out[512];
    size_t len;
    memset(out, 0xee, sizeof out);
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL,
           keystead_key_encrypt(key, TEXT, sizeof TEXT, NULL, 0, out, message.len - 1, &len, &error));
    CHECK(len == message.len && is_zero(out, message.len - 1) && out[message.len - 1] == 0xee);
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL,
           keystead_key_decrypt(key, message.data, message.len, ROW, sizeof ROW, out, sizeof TEXT - 1, &len, &error));
    CHECK(len == sizeof TEXT);
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL, keystead_client_decrypt(client, message.data, message.len, ROW, sizeof ROW, "*",
                                                                NULL, 0, &len, &error));
    CHECK(len == sizeof TEXT);
}

static void refused(const keystead_key *key, const struct message *message, const uint8_t *aad, size_t aad_len)
{
    uint8_t out[sizeof TEXT];
    size_t len = 7;
    memset(out, 0xee, sizeof out);
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC,
           keystead_key_decrypt(key, message->data, message->len, aad, aad_len, out, sizeof out, &len, &error));
    CHECK(len == 0 && is_zero(out, sizeof out));
}

static void another_context_or_an_altered_byte_is_refused(const keystead_key *key)
{
    struct message message = encrypt_text(key);
    refused(key, &message, OTHER_ROW, sizeof OTHER_ROW);
    refused(key, &message, NULL, 0);
    message.data[message.len - 1] ^= 1;
    refused(key, &message, ROW, sizeof ROW);
    message.data[message.len - 1] ^= 1;
    message.len--;
    refused(key, &message, ROW, sizeof ROW);
}

static void the_expected_name_is_compared(const keystead_client *client, const keystead_key *key)
{
    struct message message = encrypt_text(key);
    uint8_t out[sizeof TEXT];
    size_t len;
    const char *fit[] = {"c-tests", "c-*", "*"}, *unfit[] = {"c-test", "d-*", "C-TESTS"};
    for (int i = 0; i < 3; i++) {
        EXPECT(KEYSTEAD_OK, keystead_client_decrypt(client, message.data, message.len, ROW, sizeof ROW, fit[i], out,
                                                    sizeof out, &len, &error));
        CHECK(len == sizeof TEXT && memcmp(out, TEXT, len) == 0);
        EXPECT(KEYSTEAD_E_WRONG_KEY, keystead_client_decrypt(client, message.data, message.len, ROW, sizeof ROW,
                                                             unfit[i], out, sizeof out, &len, &error));
        CHECK(len == 0 && is_zero(out, sizeof out));
    }
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_decrypt(client, message.data, message.len, ROW, sizeof ROW, NULL,
                                                                out, sizeof out, &len, &error));
}

static void the_key_of_another_name_is_refused(const keystead_client *client, const keystead_key *key)
{
    struct message message = encrypt_text(key);
    keystead_key *other;
    uint8_t out[sizeof TEXT];
    size_t len;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-tests-other", &other, &error));
    EXPECT(KEYSTEAD_E_WRONG_KEY,
           keystead_key_decrypt(other, message.data, message.len, ROW, sizeof ROW, out, sizeof out, &len, &error));
    keystead_key_free(other);
}

static void overlapping_buffers_are_refused(const keystead_key *key)
{
    uint8_t memory[1024];
    size_t len;
    memset(memory, 'x', sizeof memory);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT,
           keystead_key_encrypt(key, memory, 64, NULL, 0, memory, sizeof memory, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT,
           keystead_key_encrypt(key, memory, 64, NULL, 0, memory + 63, 512, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT,
           keystead_key_encrypt(key, TEXT, sizeof TEXT, memory + 500, 64, memory, 512, &len, &error));
    CHECK(memory[0] == 'x' && memory[63] == 'x' && len == 0);
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, memory, 64, memory + 600, 64, memory + 64, 512, &len, &error));
}

static void a_message_says_which_key_it_needs(const keystead_key *key)
{
    struct message message = encrypt_text(key);
    keystead_bytes *of_key, *of_message, *json;
    EXPECT(KEYSTEAD_OK, keystead_key_id(key, &of_key, &error));
    EXPECT(KEYSTEAD_OK, keystead_message_key_id(message.data, message.len, &of_message, &error));
    EXPECT(KEYSTEAD_OK, keystead_message_inspect(message.data, message.len, &json, &error));
    CHECK(strcmp((const char *)keystead_bytes_data(of_key), "c-tests/1") == 0 && keystead_bytes_len(of_key) == 9);
    CHECK(strcmp((const char *)keystead_bytes_data(of_message), "c-tests/1") == 0);
    CHECK(strstr((const char *)keystead_bytes_data(json), "\"c-tests/1\"") != NULL);
    keystead_bytes_free(of_key);
    keystead_bytes_free(of_message);
    keystead_bytes_free(json);
}

static void a_batch_comes_back_as_a_whole_or_not_at_all(const keystead_key *key)
{
    const uint8_t *texts[] = {TEXT, TEXT, NULL}, *rows[] = {ROW, OTHER_ROW, NULL}, *messages[3];
    size_t text_lens[] = {sizeof TEXT, 3, 0}, row_lens[] = {sizeof ROW, sizeof OTHER_ROW, 0}, lens[3], offsets[4], len;
    uint8_t out[1024], again[1024];
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL,
           keystead_key_encrypt_many(key, texts, text_lens, rows, row_lens, 3, NULL, 0, offsets, &len, &error));
    CHECK(len <= sizeof out);
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt_many(key, texts, text_lens, rows, row_lens, 3, out, len, offsets, &len, &error));
    CHECK(offsets[0] == 0 && offsets[3] == len);
    for (int i = 0; i < 3; i++) {
        messages[i] = out + offsets[i];
        lens[i] = offsets[i + 1] - offsets[i];
        CHECK(lens[i] == keystead_key_encrypted_size(key, text_lens[i]));
    }
    EXPECT(KEYSTEAD_OK, keystead_key_decrypt_many(key, messages, lens, rows, row_lens, 3, again, sizeof again, offsets,
                                                  &len, &error));
    CHECK(len == sizeof TEXT + 3 && offsets[1] == sizeof TEXT && offsets[2] == len && offsets[3] == len);
    CHECK(memcmp(again, TEXT, sizeof TEXT) == 0 && memcmp(again + offsets[1], TEXT, 3) == 0);

    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_key_decrypt_many(key, messages, lens, NULL, NULL, 3, again, sizeof again,
                                                               offsets, &len, &error));
    CHECK(len == 0 && is_zero(again, sizeof again));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_many(key, NULL, text_lens, NULL, NULL, 3, out, sizeof out,
                                                                  offsets, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_many(key, texts, text_lens, rows, NULL, 3, out, sizeof out,
                                                                  offsets, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_many(key, texts, text_lens, NULL, NULL, 3, out, sizeof out,
                                                                  NULL, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_many(key, texts, text_lens, NULL, NULL, (size_t)-1, out,
                                                                  sizeof out, offsets, &len, &error));
    texts[1] = again + 500;
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_many(key, texts, text_lens, NULL, NULL, 3, again,
                                                                  sizeof again, offsets, &len, &error));
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt_many(key, NULL, NULL, NULL, NULL, 0, NULL, 0, offsets, &len, &error));
    CHECK(len == 0 && offsets[0] == 0);
}

static void a_column_is_read_and_moved_whatever_keys_it_names(const keystead_client *client, const keystead_key *other)
{
    keystead_key *key;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-column", &key, &error));
    struct message first = encrypt_text(key), second;
    keystead_key_free(key);
    EXPECT(KEYSTEAD_OK, keystead_client_rotate_key(client, "c-column", &key, &error));
    second = encrypt_text(key);
    struct message third = encrypt_text(other);
    const uint8_t *messages[] = {first.data, second.data, third.data}, *rows[] = {ROW, ROW, ROW};
    size_t lens[] = {first.len, second.len, third.len}, row_lens[] = {sizeof ROW, sizeof ROW, sizeof ROW}, offsets[4], len;
    uint8_t out[1024];
    EXPECT(KEYSTEAD_OK, keystead_client_decrypt_many(client, messages, lens, rows, row_lens, 3, "c-*", out, sizeof out,
                                                     offsets, &len, &error));
    CHECK(len == 3 * sizeof TEXT && offsets[2] == 2 * sizeof TEXT && memcmp(out + offsets[2], TEXT, sizeof TEXT) == 0);
    EXPECT(KEYSTEAD_E_WRONG_KEY, keystead_client_decrypt_many(client, messages, lens, rows, row_lens, 3, "c-column", out,
                                                              sizeof out, offsets, &len, &error));
    CHECK(len == 0 && is_zero(out, sizeof out));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_decrypt_many(client, messages, lens, rows, row_lens, 3, NULL, out,
                                                                     sizeof out, offsets, &len, &error));

    EXPECT(KEYSTEAD_OK, keystead_client_reencrypt_many(client, messages, lens, rows, row_lens, 3, "*", out, sizeof out,
                                                       offsets, &len, &error));
    CHECK(memcmp(out, first.data, first.len) != 0 && memcmp(out + offsets[1], second.data, second.len) == 0);
    CHECK(memcmp(out + offsets[2], third.data, third.len) == 0);
    EXPECT(KEYSTEAD_OK, keystead_key_decrypt(key, out, offsets[1], ROW, sizeof ROW, out + 512, 256, &len, &error));
    CHECK(len == sizeof TEXT && memcmp(out + 512, TEXT, len) == 0);
    keystead_key_free(key);
}

static void a_role_without_a_mask_sees_nothing(const keystead_client *client, const keystead_key *key)
{
    struct message message = encrypt_text(key);
    uint8_t out[512];
    size_t len = 7;
    memset(out, 0xee, sizeof out);
    EXPECT(KEYSTEAD_E_ROLE_REFUSED, keystead_client_decrypt_masked(client, message.data, message.len, ROW, sizeof ROW, "*",
                                                                   "card", "support", out, sizeof out, &len, &error));
    CHECK(len == 0 && is_zero(out, sizeof out));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_decrypt_masked(client, message.data, message.len, ROW, sizeof ROW,
                                                                       "*", NULL, "support", out, sizeof out, &len, &error));
    memset(out, 0xee, sizeof out);
    EXPECT(KEYSTEAD_E_ROLE_REFUSED,
           keystead_client_decrypt_masked_with(client, key, message.data, message.len, ROW, sizeof ROW, "card", "support", out,
                                               sizeof out, &len, &error));
    CHECK(len == 0 && is_zero(out, sizeof out));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE,
           keystead_client_decrypt_masked_with(client, NULL, message.data, message.len, ROW, sizeof ROW, "card", "support", out,
                                               sizeof out, &len, &error));
}

static void names_are_checked(const keystead_client *client)
{
    const char *bad[] = {NULL, "", "two words", "caf\xc3\xa9", "\xff", "a/1/2"};
    keystead_key *key;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_create_key(client, bad[i], &key, &error));
        CHECK(key == NULL);
    }
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND, keystead_client_key(client, "c-tests-nobody-made", &key, &error));
    CHECK(key == NULL);
}

static void handles_are_told_apart(const keystead_client *client, const keystead_key *key)
{
    keystead_bytes *bytes;
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_quiesce((const keystead_client *)key, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_key_id((const keystead_key *)client, &bytes, &error));
    keystead_client_free((keystead_client *)key);
    keystead_key_free((keystead_key *)client);
    keystead_bytes_free((keystead_bytes *)key);
    EXPECT(KEYSTEAD_OK, keystead_client_quiesce(client, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_reload(client, &error));
    encrypt_text(key);
}

static void a_closed_client_says_so(keystead_client *client, keystead_key *key)
{
    struct message message = encrypt_text(key);
    keystead_key *later;
    keystead_bytes *bytes;
    uint8_t out[512];
    size_t len;
    EXPECT(KEYSTEAD_OK, keystead_client_status(client, &bytes, &error));
    CHECK(keystead_bytes_data(bytes)[0] == '{');
    keystead_bytes_free(bytes);

    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_key(client, "c-tests", &later, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_create_key(client, "c-tests", &later, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_status(client, &bytes, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_quiesce(client, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_reload(client, &error));
    EXPECT(KEYSTEAD_E_CLOSED, keystead_client_decrypt(client, message.data, message.len, ROW, sizeof ROW, "*", out,
                                                      sizeof out, &len, &error));
    keystead_client_free(client);
    EXPECT(KEYSTEAD_E_CLOSED, keystead_key_encrypt(key, TEXT, sizeof TEXT, NULL, 0, out, sizeof out, &len, &error));
    EXPECT(KEYSTEAD_E_CLOSED,
           keystead_key_decrypt(key, message.data, message.len, ROW, sizeof ROW, out, sizeof out, &len, &error));
    keystead_key_free(key);
}

int main(void)
{
    keystead_client *client = open_client();
    keystead_key *key, *same;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-tests", &key, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-tests", &same, &error));
    keystead_key_free(same);

    every_size_comes_back(key);
    a_small_buffer_is_told_the_size_and_nothing_else(client, key);
    another_context_or_an_altered_byte_is_refused(key);
    the_expected_name_is_compared(client, key);
    the_key_of_another_name_is_refused(client, key);
    overlapping_buffers_are_refused(key);
    a_message_says_which_key_it_needs(key);
    a_batch_comes_back_as_a_whole_or_not_at_all(key);
    a_column_is_read_and_moved_whatever_keys_it_names(client, key);
    a_role_without_a_mask_sees_nothing(client, key);
    names_are_checked(client);
    handles_are_told_apart(client, key);
    a_closed_client_says_so(client, key);
    return 0;
}
