/*
 * What a C program gets for each vector of tests/vectors. test_c_vectors.py starts it, and compares.
 *
 * A line of standard input is a vector, KIND CONFIG KEY AAD DATA: KIND is message, stream or protected-dek, CONFIG the
 * configuration whose key servers hold its keys, KEY a key with its version, or - for a protected DEK; AAD and DATA are
 * hexadecimal behind '='. It is answered by a line of standard output, STATUS CLIENT_STATUS NAMED TEXT: what the key said,
 * what the client said, the key that the data names, or -, and the plaintext, hexadecimal behind '='. For a protected DEK
 * TEXT is the message of "Ada" under "row 1" by the key that it gave.
 *
 * What any C program may rely on is checked here: that all ways to decrypt agree, and that a refusal leaves nothing.
 */
#include <string.h>

#include "../c/check.h"

enum { CAPACITY = 1 << 19 };

typedef struct {
    uint8_t bytes[CAPACITY];
    size_t len;
} buffer;

typedef struct {
    char config[4096];
    keystead_client *client;
} opened;

static buffer aad, data, text, again;
static char line[4 * CAPACITY];

/* A client for each configuration, for as long as the program runs. */
static const keystead_client *client_of(const char *config)
{
    static opened clients[8];
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) {
        if (clients[i].client == NULL) {
            CHECK(strlen(config) < sizeof clients[i].config);
            strcpy(clients[i].config, config);
            EXPECT(KEYSTEAD_OK, keystead_client_open(config, &clients[i].client, &error));
        }
        if (strcmp(clients[i].config, config) == 0)
            return clients[i].client;
    }
    CHECK(!"more configurations than this program is made for");
    return NULL;
}

static void read_hex(const char *field, buffer *out)
{
    CHECK(field != NULL && *field++ == '=');
    out->len = strlen(field) / 2;
    CHECK(strlen(field) % 2 == 0 && out->len <= CAPACITY);
    for (size_t i = 0; i < out->len; i++) {
        unsigned byte;
        CHECK(sscanf(field + 2 * i, "%2x", &byte) == 1);
        out->bytes[i] = (uint8_t)byte;
    }
}

static void answer(keystead_status by_key, keystead_status by_client, const char *named, const buffer *found)
{
    printf("%s %s %s =", keystead_status_name(by_key), keystead_status_name(by_client), named);
    for (size_t i = 0; i < found->len; i++)
        printf("%02x", found->bytes[i]);
    printf("\n");
}

static void is_empty(const buffer *refused, size_t capacity)
{
    CHECK(refused->len == 0);
    for (size_t i = 0; i < capacity; i++)
        CHECK(refused->bytes[i] == 0);
}

/* The status of what was put into `text`, and into `again` by another way to the same. */
static void check_same(keystead_status one, keystead_status other, size_t capacity)
{
    CHECK(one == other);
    if (one != KEYSTEAD_OK) {
        is_empty(&text, capacity);
        is_empty(&again, capacity);
    }
    CHECK(text.len == again.len && memcmp(text.bytes, again.bytes, text.len) == 0);
}

static void fill(buffer *out)
{
    memset(out->bytes, 0xaa, sizeof out->bytes);
    out->len = 1;
}

static void message(const keystead_client *client, const keystead_key *key, const char *expect, const char *named)
{
    size_t size = 0, offsets[2];
    const uint8_t *messages[] = {data.bytes}, *aads[] = {aad.bytes};
    fill(&text);
    fill(&again);
    size_t capacity = data.len + 16;
    keystead_status by_key = keystead_key_decrypt(key, data.bytes, data.len, aad.bytes, aad.len, text.bytes, capacity,
                                                  &text.len, NULL);
    check_same(by_key, keystead_key_decrypt_many(key, messages, &data.len, aads, &aad.len, 1, again.bytes, capacity,
                                                 offsets, &again.len, NULL), capacity);
    if (by_key == KEYSTEAD_OK) {
        EXPECT(KEYSTEAD_OK, keystead_message_decrypted_size(data.bytes, data.len, &size, &error));
        CHECK(size == text.len);
    }
    fill(&again);
    keystead_status by_client = keystead_client_decrypt(client, data.bytes, data.len, aad.bytes, aad.len, expect,
                                                        again.bytes, capacity, &again.len, NULL);
    if (by_client != KEYSTEAD_OK)
        is_empty(&again, capacity);
    else
        check_same(by_key, by_client, capacity);
    answer(by_key, by_client, named, &text);
}

/* Puts the plaintext into `out`. It is empty for a stream that is refused at its end, too. */
static keystead_status finish(keystead_status begun, keystead_decryptor *decryptor, buffer *out)
{
    out->len = 0;
    CHECK((begun == KEYSTEAD_OK) == (decryptor != NULL));
    if (begun != KEYSTEAD_OK)
        return begun;
    size_t header = keystead_decryptor_header_size(decryptor);
    CHECK(header > 0 && header <= data.len);
    keystead_status said = keystead_decryptor_update(decryptor, data.bytes + header, data.len - header, out->bytes,
                                                     CAPACITY, &out->len, NULL);
    if (said == KEYSTEAD_OK)
        said = keystead_decryptor_finish(decryptor, NULL);
    if (said != KEYSTEAD_OK)
        out->len = 0;
    keystead_decryptor_free(decryptor);
    return said;
}

static void stream(const keystead_client *client, const keystead_key *key, const char *expect, const char *named)
{
    keystead_decryptor *decryptor;
    keystead_status begun = keystead_key_decrypt_stream(key, data.bytes, data.len, aad.bytes, aad.len, &decryptor, NULL);
    keystead_status by_key = finish(begun, decryptor, &text);
    begun = keystead_client_decrypt_stream(client, data.bytes, data.len, aad.bytes, aad.len, expect, &decryptor, NULL);
    keystead_status by_client = finish(begun, decryptor, &again);
    if (by_client == KEYSTEAD_OK)
        CHECK(by_key == KEYSTEAD_OK && text.len == again.len && memcmp(text.bytes, again.bytes, text.len) == 0);
    answer(by_key, by_client, named, &text);
}

static void protected_dek(const keystead_client *client)
{
    keystead_key *key;
    keystead_bytes *id = NULL;
    keystead_status said = keystead_client_unlock_space(client, data.bytes, data.len, "*", &key, NULL);
    CHECK((said == KEYSTEAD_OK) == (key != NULL));
    text.len = 0;
    if (said == KEYSTEAD_OK) {
        EXPECT(KEYSTEAD_OK, keystead_key_id(key, &id, &error));
        EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, (const uint8_t *)"Ada", 3, (const uint8_t *)"row 1", 5, text.bytes,
                                                 CAPACITY, &text.len, &error));
    }
    answer(said, said, id == NULL ? "-" : (const char *)keystead_bytes_data(id), &text);
    keystead_bytes_free(id);
    keystead_key_free(key);
}

/* A message or stream, with the key and by the client that finds the key. */
static void with_key(const keystead_client *client, const char *id, int is_stream)
{
    keystead_key *key;
    keystead_bytes *named = NULL;
    char name[256];
    size_t size = strcspn(id, "/");
    CHECK(size < sizeof name);
    memcpy(name, id, size);
    name[size] = 0;
    EXPECT(KEYSTEAD_OK, keystead_client_key(client, id, &key, &error));
    keystead_status is_named = keystead_message_key_id(data.bytes, data.len, &named, NULL);
    CHECK(is_named == KEYSTEAD_OK || (is_named == KEYSTEAD_E_NOT_AUTHENTIC && named == NULL));
    (is_stream ? stream : message)(client, key, name, named == NULL ? "-" : (const char *)keystead_bytes_data(named));
    keystead_bytes_free(named);
    keystead_key_free(key);
}

int main(void)
{
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *kind = strtok(line, " \n"), *config = strtok(NULL, " \n"), *id = strtok(NULL, " \n");
        CHECK(kind != NULL && config != NULL && id != NULL);
        read_hex(strtok(NULL, " \n"), &aad);
        read_hex(strtok(NULL, " \n"), &data);
        const keystead_client *client = client_of(config);
        if (strcmp(kind, "protected-dek") == 0)
            protected_dek(client);
        else if (strcmp(kind, "message") == 0 || strcmp(kind, "stream") == 0)
            with_key(client, id, strcmp(kind, "stream") == 0);
        else
            CHECK(!"a kind of vector that this program does not know");
    }
    return 0;
}
