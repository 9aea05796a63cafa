/* A forked child can use nothing of its parent's, is told so without hanging, and can start afresh. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { FORKS = 50, AFRESH_EVERY = 10, HANGS_AFTER_SECONDS = 20 };
static const uint8_t TEXT[] = "inherited";
static atomic_int stop;

struct inherited {
    keystead_client *client;
    keystead_key *key;
    uint8_t message[256];
    size_t message_len;
};

static void in_the_child(const struct inherited *parent)
{
    keystead_key *key;
    keystead_bytes *bytes;
    uint8_t out[256];
    size_t len;
    alarm(HANGS_AFTER_SECONDS);
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_key(parent->client, "c-fork", &key, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_create_key(parent->client, "c-fork", &key, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_status(parent->client, &bytes, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_quiesce(parent->client, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_decrypt(parent->client, parent->message, parent->message_len, NULL, 0, "*",
                                                      out, sizeof out, &len, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_client_close(parent->client, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_key_id(parent->key, &bytes, &error));
    EXPECT(KEYSTEAD_E_FORKED,
           keystead_key_encrypt(parent->key, TEXT, sizeof TEXT, NULL, 0, out, sizeof out, &len, &error));
    EXPECT(KEYSTEAD_E_FORKED, keystead_key_decrypt(parent->key, parent->message, parent->message_len, NULL, 0, out,
                                                   sizeof out, &len, &error));
    CHECK(keystead_key_encrypted_size(parent->key, 1) == 0);
    keystead_key_free(parent->key);
    keystead_client_free(parent->client);
}

/* What a worker process of a pre-forking server does. */
static void start_afresh(const struct inherited *parent)
{
    keystead_client *client = open_client();
    uint8_t out[sizeof TEXT];
    size_t len;
    EXPECT(KEYSTEAD_OK, keystead_client_decrypt(client, parent->message, parent->message_len, NULL, 0, "c-fork", out,
                                                sizeof out, &len, &error));
    CHECK(len == sizeof TEXT && memcmp(out, TEXT, len) == 0);
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    keystead_client_free(client);
}

static void *keep_busy(void *argument)
{
    const struct inherited *parent = argument;
    while (!atomic_load(&stop)) {
        keystead_key *key;
        keystead_bytes *bytes;
        uint8_t out[256];
        size_t len;
        EXPECT(KEYSTEAD_OK, keystead_client_key(parent->client, "c-fork", &key, &error));
        EXPECT(KEYSTEAD_OK, keystead_key_encrypt(key, TEXT, sizeof TEXT, NULL, 0, out, sizeof out, &len, &error));
        EXPECT(KEYSTEAD_OK, keystead_client_status(parent->client, &bytes, &error));
        keystead_bytes_free(bytes);
        keystead_key_free(key);
    }
    return NULL;
}

static void fork_and(const struct inherited *parent, void (*also)(const struct inherited *))
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        in_the_child(parent);
        if (also != NULL)
            also(parent);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    struct inherited parent;
    uint8_t out[sizeof TEXT];
    size_t len;
    pthread_t threads[3];
    parent.client = open_client();
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(parent.client, "c-fork", &parent.key, &error));
    EXPECT(KEYSTEAD_OK, keystead_key_encrypt(parent.key, TEXT, sizeof TEXT, NULL, 0, parent.message,
                                             sizeof parent.message, &parent.message_len, &error));

    fork_and(&parent, start_afresh);

    /* Whatever lock a thread of the parent holds at the fork, the child does not wait for it. */
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, keep_busy, &parent) == 0);
    for (int i = 0; i < FORKS; i++)
        fork_and(&parent, i % AFRESH_EVERY == 0 ? start_afresh : NULL);
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    EXPECT(KEYSTEAD_OK, keystead_key_decrypt(parent.key, parent.message, parent.message_len, NULL, 0, out, sizeof out,
                                             &len, &error));
    CHECK(len == sizeof TEXT && memcmp(out, TEXT, len) == 0);
    keystead_key_free(parent.key);
    EXPECT(KEYSTEAD_OK, keystead_client_close(parent.client, &error));
    keystead_client_free(parent.client);
    return 0;
}
