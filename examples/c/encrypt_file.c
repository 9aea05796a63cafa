/*
 * Encrypts a file with a key that stays in a key manager, or decrypts it again.
 *
 *     encrypt_file CONFIG KEY_NAME IN OUT        makes the key where the name has none yet
 *     encrypt_file -d CONFIG KEY_NAME IN OUT
 *
 * The file becomes a stream, so it may be of any length, and takes little memory. OUT appears when all of it was
 * written and verified, or not at all. The stream carries no associated data: `keystead decrypt` opens it too.
 */
#define _POSIX_C_SOURCE 200809L /* open and fdopen: a decrypted file is for its owner alone */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keystead.h"

enum { PIECE = 1 << 20, MAX_PATH = 4096 };

/* The input piece by piece, and the output, which has another name until it is whole. */
struct files {
    FILE *in, *out;
    const char *in_path, *out_path;
    char partial[MAX_PATH];
    uint8_t *piece, *result;
};

static int complain(const char *doing, const char *path)
{
    fprintf(stderr, "encrypt_file: cannot %s %s: ", doing, path);
    perror(NULL);
    return 0;
}

/* `error` by address: an argument may be evaluated before the call beside it has set it. */
static int explain(keystead_status status, keystead_error **error)
{
    if (status != KEYSTEAD_OK)
        fprintf(stderr, "encrypt_file: %s\n%s: %s\n", keystead_error_message(*error), keystead_status_name(status),
                keystead_error_detail(*error));
    keystead_error_free(*error);
    return status == KEYSTEAD_OK;
}

static int open_files(struct files *files)
{
    int length = snprintf(files->partial, sizeof files->partial, "%s.partial", files->out_path);
    if (length < 0 || (size_t)length >= sizeof files->partial) {
        fprintf(stderr, "encrypt_file: the path %s is too long\n", files->out_path);
        files->partial[0] = '\0';
        return 0;
    }
    files->piece = malloc(PIECE);
    files->result = malloc(PIECE + KEYSTEAD_STREAM_ROOM);
    files->in = fopen(files->in_path, "rb");
    if (files->piece == NULL || files->result == NULL || files->in == NULL)
        return complain("read", files->in_path);
    int descriptor = open(files->partial, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    files->out = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    return files->out != NULL || complain("create", files->partial);
}

/* Reads up to `size` bytes; fewer only at the end of the input. */
static int read_piece(struct files *files, size_t size, size_t *length)
{
    *length = fread(files->piece, 1, size, files->in);
    return !ferror(files->in) || complain("read", files->in_path);
}

static int write_result(struct files *files, size_t length)
{
    return fwrite(files->result, 1, length, files->out) == length || complain("write", files->partial);
}

static int close_files(struct files *files, int done)
{
    if (files->in != NULL)
        fclose(files->in);
    if (files->out != NULL && fclose(files->out) != 0)
        done = done && complain("write", files->partial);
    if (done && rename(files->partial, files->out_path) != 0)
        done = complain("create", files->out_path);
    if (!done && files->out != NULL)
        unlink(files->partial);
    free(files->piece);
    free(files->result);
    return done;
}

static int encrypt_with(keystead_encryptor *encryptor, struct files *files)
{
    keystead_error *error;
    size_t length, ready;
    do {
        if (!read_piece(files, PIECE, &length)
            || !explain(keystead_encryptor_update(encryptor, files->piece, length, files->result,
                                                  PIECE + KEYSTEAD_STREAM_ROOM, &ready, &error), &error)
            || !write_result(files, ready))
            return 0;
    } while (length == PIECE);
    return explain(keystead_encryptor_finish(encryptor, files->result, PIECE + KEYSTEAD_STREAM_ROOM, &ready, &error),
                   &error)
           && write_result(files, ready);
}

static int encrypt(const keystead_client *client, const char *name, struct files *files)
{
    keystead_key *key;
    keystead_encryptor *encryptor = NULL;
    keystead_error *error;
    int done = explain(keystead_client_create_key(client, name, &key, &error), &error)
               && explain(keystead_key_encrypt_stream(key, NULL, 0, &encryptor, &error), &error)
               && encrypt_with(encryptor, files);
    keystead_encryptor_free(encryptor);
    keystead_key_free(key);
    return done;
}

/* `start` is where the first piece goes on behind the header. */
static int decrypt_with(keystead_decryptor *decryptor, struct files *files, size_t start, size_t length)
{
    keystead_error *error;
    size_t ready;
    while (length > 0) {
        if (!explain(keystead_decryptor_update(decryptor, files->piece + start, length - start, files->result,
                                               PIECE + KEYSTEAD_STREAM_ROOM, &ready, &error), &error)
            || !write_result(files, ready) || !read_piece(files, PIECE, &length))
            return 0;
        start = 0;
    }
    return explain(keystead_decryptor_finish(decryptor, &error), &error);
}

static int decrypt(const keystead_client *client, const char *name, struct files *files)
{
    keystead_decryptor *decryptor = NULL;
    keystead_error *error;
    size_t length;
    int done = read_piece(files, PIECE, &length)
               && explain(keystead_client_decrypt_stream(client, files->piece, length, NULL, 0, name, &decryptor,
                                                         &error), &error)
               && decrypt_with(decryptor, files, keystead_decryptor_header_size(decryptor), length);
    keystead_decryptor_free(decryptor);
    return done;
}

int main(int argc, char **argv)
{
    int decrypting = argc == 6 && strcmp(argv[1], "-d") == 0;
    if (argc != 5 && !decrypting) {
        fprintf(stderr, "usage: encrypt_file [-d] CONFIG KEY_NAME IN OUT\n");
        return 2;
    }
    const char *config = argv[argc - 4], *name = argv[argc - 3];
    struct files files = {.in_path = argv[argc - 2], .out_path = argv[argc - 1]};

    keystead_client *client = NULL;
    keystead_error *error;
    int done = open_files(&files) && explain(keystead_client_open(config, &client, &error), &error)
               && (decrypting ? decrypt : encrypt)(client, name, &files)
               && explain(keystead_client_close(client, &error), &error);
    keystead_client_free(client);
    return close_files(&files, done) ? 0 : 1;
}
