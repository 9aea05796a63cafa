/* A stream comes back whole, whatever the pieces; one that was cut, altered or continued is refused. */
#include <string.h>

#include "check.h"

enum { LENGTH = 200000, CAPACITY = 2 * LENGTH + KEYSTEAD_STREAM_ROOM };
static const uint8_t BACKUP[] = "backup of 2026-11-23";
static uint8_t plaintext[LENGTH], stream[CAPACITY], again[CAPACITY];

static size_t encrypt(const keystead_key *key, size_t piece)
{
    keystead_encryptor *encryptor;
    size_t written = 0, len;
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt_stream(key, BACKUP, sizeof BACKUP, &encryptor, &error));
    for (size_t at = 0; at < LENGTH; at += piece) {
        size_t size = LENGTH - at < piece ? LENGTH - at : piece;
        size_t expected = keystead_encryptor_update_size(encryptor, size);
        EXPECT(KEYSTEAD_OK, keystead_encryptor_update(encryptor, plaintext + at, size, stream + written,
                                                      CAPACITY - written, &len, &error));
        CHECK(len == expected && len <= size + KEYSTEAD_STREAM_ROOM);
        written += len;
    }
    EXPECT(KEYSTEAD_OK, keystead_encryptor_finish(encryptor, stream + written, CAPACITY - written, &len, &error));
    CHECK(len > 0 && len <= KEYSTEAD_STREAM_ROOM);
    written += len;
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_encryptor_update(encryptor, plaintext, 1, again, CAPACITY, &len, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_encryptor_finish(encryptor, again, CAPACITY, &len, &error));
    CHECK(len == 0 && keystead_encryptor_update_size(NULL, 1) == 0);
    keystead_encryptor_free(encryptor);
    return written;
}

static keystead_decryptor *begin(const keystead_client *client, size_t len)
{
    keystead_decryptor *decryptor;
    EXPECT(KEYSTEAD_OK, keystead_client_decrypt_stream(client, stream, len, BACKUP, sizeof BACKUP, "c-streams",
                                                       &decryptor, &error));
    return decryptor;
}

static void comes_back(const keystead_client *client, size_t len, size_t piece)
{
    keystead_decryptor *decryptor = begin(client, KEYSTEAD_STREAM_HEADER_MAX);
    size_t written = 0, ready;
    for (size_t at = keystead_decryptor_header_size(decryptor); at < len; at += piece) {
        size_t size = len - at < piece ? len - at : piece;
        EXPECT(KEYSTEAD_OK, keystead_decryptor_update(decryptor, stream + at, size, again + written,
                                                      CAPACITY - written, &ready, &error));
        written += ready;
    }
    EXPECT(KEYSTEAD_OK, keystead_decryptor_finish(decryptor, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_decryptor_finish(decryptor, &error));
    CHECK(written == LENGTH && memcmp(again, plaintext, LENGTH) == 0);
    keystead_decryptor_free(decryptor);
}

static void is_refused_when_cut_altered_or_continued(const keystead_client *client, size_t len)
{
    keystead_decryptor *decryptor = begin(client, len);
    size_t header = keystead_decryptor_header_size(decryptor), ready;
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL,
           keystead_decryptor_update(decryptor, stream + header, 1000, again, 1000, &ready, &error));
    CHECK(ready == 1000 + 65536);
    EXPECT(KEYSTEAD_OK,
           keystead_decryptor_update(decryptor, stream + header, len - header - 1, again, CAPACITY, &ready, &error));
    CHECK(ready > 0 && ready < LENGTH && memcmp(again, plaintext, ready) == 0);
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_decryptor_finish(decryptor, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC,
           keystead_decryptor_update(decryptor, stream + len - 1, 1, again, CAPACITY, &ready, &error));
    CHECK(ready == 0);
    keystead_decryptor_free(decryptor);

    decryptor = begin(client, len);
    stream[len] = 0;
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC,
           keystead_decryptor_update(decryptor, stream + header, len - header + 1, again, CAPACITY, &ready, &error));
    keystead_decryptor_free(decryptor);

    decryptor = begin(client, len);
    stream[len - 1] ^= 1;
    memset(again, 0xee, CAPACITY);
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC,
           keystead_decryptor_update(decryptor, stream + header, len - header, again, CAPACITY, &ready, &error));
    CHECK(ready == 0 && again[0] == 0 && again[LENGTH - 1] == 0);
    stream[len - 1] ^= 1;
    keystead_decryptor_free(decryptor);
}

static void another_name_context_or_kind_is_refused(const keystead_client *client, const keystead_key *key, size_t len)
{
    keystead_decryptor *decryptor;
    uint8_t message[256];
    size_t size;
    EXPECT(KEYSTEAD_E_WRONG_KEY, keystead_client_decrypt_stream(client, stream, len, BACKUP, sizeof BACKUP, "d-*",
                                                                &decryptor, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_client_decrypt_stream(client, stream, len, NULL, 0, "*", &decryptor, &error));
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, NULL, 0, NULL, 0, message, sizeof message, &size, &error));
    EXPECT(KEYSTEAD_E_NOT_AUTHENTIC, keystead_client_decrypt_stream(client, message, size, NULL, 0, "*", &decryptor, &error));
    CHECK(decryptor == NULL);
}

static void mistakes_are_refused(const keystead_client *client, const keystead_key *key)
{
    keystead_encryptor *encryptor;
    keystead_decryptor *decryptor;
    size_t len;
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_key_encrypt_stream(NULL, NULL, 0, &encryptor, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_stream(key, NULL, 0, NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_key_encrypt_stream(key, plaintext, 65537, &encryptor, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_decrypt_stream(client, NULL, 9, NULL, 0, "*", &decryptor, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_decryptor_finish(NULL, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_decryptor_finish((const keystead_decryptor *)key, &error));
    CHECK(keystead_decryptor_header_size(NULL) == 0);
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt_stream(key, NULL, 0, &encryptor, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_encryptor_update(encryptor, stream, 8, stream, CAPACITY, &len, &error));
    EXPECT(KEYSTEAD_E_BUFFER_TOO_SMALL, keystead_encryptor_update(encryptor, plaintext, LENGTH, NULL, 0, &len, &error));
    CHECK(len == keystead_encryptor_update_size(encryptor, LENGTH));
    keystead_encryptor_free(encryptor);
    keystead_encryptor_free(NULL);
    keystead_decryptor_free(NULL);
}

int main(void)
{
    keystead_client *client = open_client();
    keystead_key *key;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-streams", &key, &error));
    for (size_t i = 0; i < LENGTH; i++)
        plaintext[i] = (uint8_t)(i * 7 + (i >> 8));

    const size_t pieces[] = {1000, 65536, 65537, LENGTH};
    size_t len = 0;
    for (int i = 0; i < 4; i++) {
        len = encrypt(key, pieces[i]);
        for (int j = 0; j < 4; j++)
            comes_back(client, len, pieces[j]);
    }
    is_refused_when_cut_altered_or_continued(client, len);
    another_name_context_or_kind_is_refused(client, key, len);
    mistakes_are_refused(client, key);
    keystead_key_free(key);
    keystead_client_free(client);
    return 0;
}
