/* A program verifies the log of its client: as it was written, altered, and cut. */
#define _POSIX_C_SOURCE 200809L

#include <string.h>
#include <unistd.h>

#include "check.h"

enum { MOST = 1 << 20 };
static char folder[] = "/tmp/keystead-verify-XXXXXX", copy[64], anchors[64];
static char text[MOST], told[MOST];
static size_t text_len;

/* What the library says of a file. */
static const char *verify(const char *path, const char *with_anchors)
{
    keystead_bytes *report = NULL;
    EXPECT(KEYSTEAD_OK, keystead_log_verify(&path, 1, NULL, 0, with_anchors, NULL, 0, &report, &error));
    CHECK(keystead_bytes_len(report) < sizeof told);
    strcpy(told, (const char *)keystead_bytes_data(report));
    keystead_bytes_free(report);
    return told;
}

static void save(const char *path, const char *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

/* Writes a log of its own, and reads it. */
static void write_a_log(void)
{
    keystead_client *client = open_client();
    keystead_key *key;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-verify", &key, &error));
    keystead_key_free(key);
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    keystead_client_free(client);
    char path[512];
    snprintf(path, sizeof path, "%s", getenv("KEYSTEAD_CONFIG"));
    strcpy(strrchr(path, '/'), "/keystead.log");
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    text_len = fread(text, 1, sizeof text - 1, file);
    CHECK(text_len > 1000 && text_len < sizeof text - 1 && fclose(file) == 0);
}

static void a_log_is_intact_as_it_was_written(void)
{
    save(copy, text, text_len);
    CHECK(strstr(verify(copy, NULL), "\"intact\":true") != NULL);
}

static void what_was_altered_is_named(void)
{
    char *created = strstr(text, "event=key.created");
    CHECK(created != NULL);
    memcpy(created, "event=key.rotated", 17);
    save(copy, text, text_len);
    memcpy(created, "event=key.created", 17);
    CHECK(strstr(verify(copy, NULL), "\"intact\":false") != NULL);
    CHECK(strstr(told, "\"kind\":\"altered\"") != NULL);
}

static void what_was_cut_is_found_with_an_anchor(void)
{
    char *last = text, *next;
    while ((next = strstr(last + 1, " serial=")) != NULL || (next = strstr(last + 1, ": serial=")) != NULL)
        last = next;
    unsigned long long serial;
    char stream[17], hash[65], anchor[256];
    CHECK(sscanf(strstr(last, "serial="), "serial=%llu stream=%16s", &serial, stream) == 2);
    CHECK(sscanf(strstr(last, " sha256="), " sha256=%64s", hash) == 1);
    int len = snprintf(anchor, sizeof anchor, "keystead-anchor-1 stream=%s serial=%llu sha256=%s\n", stream, serial, hash);
    save(anchors, anchor, (size_t)len);
    save(copy, text, text_len);
    CHECK(strstr(verify(copy, anchors), "\"intact\":true") != NULL);
    while (*last != '\n')
        last--;
    save(copy, text, (size_t)(last + 1 - text));
    CHECK(strstr(verify(copy, NULL), "\"intact\":true") != NULL);
    CHECK(strstr(verify(copy, anchors), "\"kind\":\"cut\"") != NULL);
}

static void what_is_of_another_kind_is_told(void)
{
    const char *path = copy;
    keystead_bytes *report;
    save(copy, text, text_len);
    EXPECT(KEYSTEAD_OK, keystead_log_verify(&path, 1, NULL, 0, NULL, "log", 0, &report, &error));
    CHECK(strstr((const char *)keystead_bytes_data(report), "\"intact\":true") != NULL);
    keystead_bytes_free(report);
    EXPECT(KEYSTEAD_OK, keystead_log_verify(&path, 1, NULL, 0, NULL, "audit", 0, &report, &error));
    CHECK(strstr((const char *)keystead_bytes_data(report), "\"kind\":\"inserted\"") != NULL);
    keystead_bytes_free(report);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(&path, 1, NULL, 0, NULL, "trail", 0, &report, &error));
}

static void mistakes_are_errors(void)
{
    const char *files[] = {copy, NULL};
    keystead_bytes *report = (keystead_bytes *)1;
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(NULL, 1, NULL, 0, NULL, NULL, 0, &report, &error));
    CHECK(report == NULL);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(files, 0, NULL, 0, NULL, NULL, 0, &report, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(files, 2, NULL, 0, NULL, NULL, 0, &report, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(files, (size_t)-1, NULL, 0, NULL, NULL, 0, &report, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_log_verify(files, 1, files, 1, NULL, NULL, 0, &report, &error));
    EXPECT(KEYSTEAD_E_SYSTEM, keystead_log_verify(files, 1, NULL, 0, "/none", NULL, 0, &report, &error));
    unlink(copy);
    EXPECT(KEYSTEAD_E_SYSTEM, keystead_log_verify(files, 1, NULL, 0, NULL, NULL, 0, &report, &error));
    CHECK(report == NULL);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    snprintf(copy, sizeof copy, "%s/log", folder);
    snprintf(anchors, sizeof anchors, "%s/anchors", folder);
    write_a_log();
    a_log_is_intact_as_it_was_written();
    what_was_altered_is_named();
    what_was_cut_is_found_with_an_anchor();
    what_is_of_another_kind_is_told();
    mistakes_are_errors();
    unlink(anchors);
    rmdir(folder);
    return 0;
}
