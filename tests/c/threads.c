/* One client and one key serve any number of threads, and closing under their feet is a status. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"

enum { THREADS = 8, MESSAGES = 2000 };

static keystead_client *client;
static keystead_key *shared;
static atomic_int working;

static void *encrypt_and_decrypt(void *argument)
{
    const uintptr_t number = (uintptr_t)argument;
    uint8_t text[64], message[320], again[64];
    size_t message_len, again_len;
    for (unsigned i = 0; i < MESSAGES; i++) {
        memset(text, (int)(number * 31 + i), sizeof text);
        EXPECT(KEYSTEAD_OK, keystead_key_encrypt(shared, text, sizeof text, (const uint8_t *)&i, sizeof i, message,
                                                 sizeof message, &message_len, &error));
        EXPECT(KEYSTEAD_OK, keystead_client_decrypt(client, message, message_len, (const uint8_t *)&i, sizeof i,
                                                    "c-threads", again, sizeof again, &again_len, &error));
        CHECK(again_len == sizeof text && memcmp(again, text, sizeof text) == 0);
    }
    return NULL;
}

static void *work_until_closed(void *argument)
{
    uint8_t text[64] = {0}, message[320];
    size_t len;
    keystead_status status = KEYSTEAD_OK;
    (void)argument;
    atomic_fetch_add(&working, 1);
    while (status == KEYSTEAD_OK) {
        keystead_key *key;
        status = keystead_client_key(client, "c-threads", &key, NULL);
        if (status == KEYSTEAD_OK)
            status = keystead_key_encrypt(key, text, sizeof text, NULL, 0, message, sizeof message, &len, NULL);
        keystead_key_free(key);
    }
    CHECK(status == KEYSTEAD_E_CLOSED);
    return NULL;
}

static void *close_when_all_work(void *argument)
{
    (void)argument;
    while (atomic_load(&working) < THREADS)
        ;
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    return NULL;
}

static void run(void *(*work)(void *), pthread_t *threads, int number)
{
    for (int i = 0; i < number; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
}

static void join(pthread_t *threads, int number)
{
    for (int i = 0; i < number; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    pthread_t threads[THREADS + 1];
    client = open_client();
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-threads", &shared, &error));

    run(encrypt_and_decrypt, threads, THREADS);
    join(threads, THREADS);

    run(work_until_closed, threads, THREADS);
    run(close_when_all_work, threads + THREADS, 1);
    join(threads, THREADS + 1);

    keystead_key_free(shared);
    keystead_client_free(client);
    return 0;
}
