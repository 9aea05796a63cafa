/* The records of a client reach a function of the application, which may be slow, and end the client. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum { PATIENCE_SECONDS = 20, MOST = 64 };

/* What a function was told, and what it is to do. */
struct listener {
    atomic_int told, released;
    char events[MOST][64], hashes[MOST][65], previous[MOST][65];
    uint64_t serials[MOST];
    atomic_int holds; /* while it is 1, the function does not return */
    _Atomic(keystead_client *) to_close;
};

static void pause_a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Ends the test unless `number` becomes `expected`. */
static void await(const atomic_int *number, int expected)
{
    time_t start = time(NULL);
    while (atomic_load(number) != expected) {
        CHECK(time(NULL) - start < PATIENCE_SECONDS);
        pause_a_moment();
    }
}

static const char *behind(const char *record, const char *label)
{
    const char *found = strstr(record, label);
    CHECK(found != NULL);
    return found + strlen(label);
}

static void on_record(void *user_data, int32_t severity, const char *event, const char *record, size_t record_len)
{
    struct listener *listener = user_data;
    int at = atomic_load(&listener->told);
    CHECK(strlen(record) == record_len && strchr(record, '\n') == NULL);
    CHECK(severity >= KEYSTEAD_SEVERITY_ALERT && severity <= KEYSTEAD_SEVERITY_DEBUG);
    if (at < MOST) {
        snprintf(listener->events[at], sizeof listener->events[at], "%s", event);
        snprintf(listener->hashes[at], 65, "%s", behind(record, " sha256="));
        snprintf(listener->previous[at], 65, "%s", behind(record, " prev="));
        listener->serials[at] = strtoull(behind(record, "serial="), NULL, 10);
    }
    atomic_fetch_add(&listener->told, 1);
    while (atomic_load(&listener->holds))
        pause_a_moment();
    keystead_client *client = atomic_exchange(&listener->to_close, NULL);
    if (client != NULL) {
        EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
        keystead_client_free(client);
    }
}

static void on_release(void *user_data)
{
    atomic_fetch_add(&((struct listener *)user_data)->released, 1);
}

static keystead_client *open_with(struct listener *listener)
{
    keystead_client *client;
    EXPECT(KEYSTEAD_OK, keystead_client_open_with(getenv("KEYSTEAD_CONFIG"), on_record, on_release, listener, &client,
                                                  &error));
    return client;
}

static void records_arrive_in_order_and_then_the_application_gets_its_data_back(void)
{
    static struct listener listener;
    keystead_key *key;
    keystead_client *client = open_with(&listener);
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-records", &key, &error));
    keystead_key_free(key);
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    keystead_client_free(client);
    await(&listener.released, 1);
    int told = atomic_load(&listener.told), created = 0;
    CHECK(told > 4 && told <= MOST);
    CHECK(strcmp(listener.events[0], "client.start") == 0 && strcmp(listener.events[told - 1], "client.stop") == 0);
    for (int at = 1; at < told; at++) {
        CHECK(listener.serials[at] == listener.serials[at - 1] + 1);
        CHECK(strcmp(listener.previous[at], listener.hashes[at - 1]) == 0);
        created += strcmp(listener.events[at], "key.created") == 0;
    }
    CHECK(created == 1 && atomic_load(&listener.released) == 1);
}

static void a_function_that_hangs_holds_nobody_and_its_data_is_kept(void)
{
    static struct listener listener = {.holds = 1};
    keystead_key *key;
    keystead_client *client = open_with(&listener);
    await(&listener.told, 1);
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-records-held", &key, &error));
    keystead_key_free(key);
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    keystead_client_free(client);
    CHECK(atomic_load(&listener.told) == 1 && atomic_load(&listener.released) == 0);
    atomic_store(&listener.holds, 0);
    await(&listener.released, 1);
    CHECK(atomic_load(&listener.told) == 1);
}

static void a_function_may_close_and_free_its_client(void)
{
    static struct listener listener = {.holds = 1};
    keystead_client *client = open_with(&listener);
    await(&listener.told, 1);
    atomic_store(&listener.to_close, client);
    atomic_store(&listener.holds, 0);
    await(&listener.released, 1);
}

static void a_client_that_is_freed_and_not_closed_gives_the_data_back(void)
{
    static struct listener listener;
    keystead_client_free(open_with(&listener));
    await(&listener.released, 1);
}

static void what_cannot_be_opened_gives_the_data_back(void)
{
    static struct listener listener;
    keystead_client *client = (keystead_client *)1;
    const char *config = getenv("KEYSTEAD_CONFIG");
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT,
           keystead_client_open_with(config, NULL, on_release, &listener, &client, &error));
    CHECK(client == NULL && atomic_load(&listener.released) == 1);
    EXPECT(KEYSTEAD_E_CONFIG_UNREADABLE,
           keystead_client_open_with("/none", on_record, on_release, &listener, &client, &error));
    CHECK(atomic_load(&listener.released) == 2 && atomic_load(&listener.told) == 0);
    EXPECT(KEYSTEAD_OK, keystead_client_open_with(config, on_record, NULL, &listener, &client, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_close(client, &error));
    keystead_client_free(client);
    CHECK(atomic_load(&listener.released) == 2);
}

int main(void)
{
    records_arrive_in_order_and_then_the_application_gets_its_data_back();
    a_function_that_hangs_holds_nobody_and_its_data_is_kept();
    a_function_may_close_and_free_its_client();
    a_client_that_is_freed_and_not_closed_gives_the_data_back();
    what_cannot_be_opened_gives_the_data_back();
    return 0;
}
