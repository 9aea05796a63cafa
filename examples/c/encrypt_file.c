/*
 * Encrypts a file with a key that stays in a key manager, or decrypts it again.
 *
 *     encrypt_file CONFIG KEY_NAME IN OUT        makes the key where the name has none yet
 *     encrypt_file -d CONFIG KEY_NAME IN OUT
 *
 * The whole file becomes one message, so it has to fit into memory, and is limited to 1 GiB. The message carries
 * no associated data: `keystead decrypt` opens it too.
 */
#define _POSIX_C_SOURCE 200809L /* open and fdopen: a decrypted file is for its owner alone */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keystead.h"

enum { MAX_MESSAGE_OVERHEAD = 1024 };
static const size_t MAX_FILE = (size_t)1 << 30;

struct buffer {
    uint8_t *data;
    size_t len;
};

static int complain(const char *doing, const char *path)
{
    fprintf(stderr, "encrypt_file: cannot %s %s: ", doing, path);
    perror(NULL);
    return 0;
}

static int read_file(const char *path, struct buffer *content)
{
    const size_t limit = MAX_FILE + MAX_MESSAGE_OVERHEAD;
    size_t capacity = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return complain("open", path);
    do {
        capacity = capacity == 0 ? 65536 : 2 * capacity;
        uint8_t *larger = realloc(content->data, capacity);
        if (larger == NULL)
            break;
        content->data = larger;
        content->len += fread(content->data + content->len, 1, capacity - content->len, file);
    } while (content->len == capacity && content->len <= limit);

    int complete = feof(file) && !ferror(file) && content->len <= limit;
    if (!complete && content->len > limit)
        fprintf(stderr, "encrypt_file: %s is larger than 1 GiB, more than one message should hold\n", path);
    else if (!complete)
        complain("read", path);
    fclose(file);
    return complete;
}

static int write_file(const char *path, const struct buffer *content)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    if (file == NULL)
        return complain("create", path);
    size_t written = fwrite(content->data, 1, content->len, file);
    if (fclose(file) == 0 && written == content->len)
        return 1;
    complain("write", path);
    unlink(path);
    return 0;
}

static keystead_status encrypt(const keystead_client *client, const char *name, const struct buffer *plaintext,
                               struct buffer *message, keystead_error **error)
{
    keystead_key *key;
    keystead_status status = keystead_client_create_key(client, name, &key, error);
    if (status != KEYSTEAD_OK)
        return status;
    size_t size = keystead_key_encrypted_size(key, plaintext->len);
    message->data = malloc(size);
    status = keystead_key_encrypt(key, plaintext->data, plaintext->len, NULL, 0, message->data,
                                  message->data == NULL ? 0 : size, &message->len, error);
    keystead_key_free(key);
    return status;
}

static keystead_status decrypt(const keystead_client *client, const char *name, const struct buffer *message,
                               struct buffer *plaintext, keystead_error **error)
{
    size_t size;
    keystead_status status = keystead_message_decrypted_size(message->data, message->len, &size, error);
    if (status != KEYSTEAD_OK)
        return status;
    plaintext->data = malloc(size + 1); /* not malloc(0), which may be NULL */
    return keystead_client_decrypt(client, message->data, message->len, NULL, 0, name, plaintext->data,
                                   plaintext->data == NULL ? 0 : size, &plaintext->len, error);
}

int main(int argc, char **argv)
{
    int decrypting = argc == 6 && strcmp(argv[1], "-d") == 0;
    if (argc != 5 && !decrypting) {
        fprintf(stderr, "usage: encrypt_file [-d] CONFIG KEY_NAME IN OUT\n");
        return 2;
    }
    const char *config = argv[argc - 4], *name = argv[argc - 3], *in_path = argv[argc - 2], *out_path = argv[argc - 1];

    struct buffer in = {NULL, 0}, out = {NULL, 0};
    keystead_client *client = NULL;
    keystead_error *error = NULL;
    int done = read_file(in_path, &in);
    if (done) {
        keystead_status status = keystead_client_open(config, &client, &error);
        if (status == KEYSTEAD_OK)
            status = (decrypting ? decrypt : encrypt)(client, name, &in, &out, &error);
        if (status == KEYSTEAD_OK && (status = keystead_client_close(client, &error)) == KEYSTEAD_OK)
            done = write_file(out_path, &out);
        if (status != KEYSTEAD_OK) {
            fprintf(stderr, "encrypt_file: %s\n%s: %s\n", keystead_error_message(error), keystead_status_name(status),
                    keystead_error_detail(error));
            done = 0;
        }
    }
    keystead_error_free(error);
    keystead_client_free(client);
    free(in.data);
    free(out.data);
    return done ? 0 : 1;
}
