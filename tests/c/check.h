/* What the C tests share: checks that say where they failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "keystead.h"

/* Ends the test unless `what` is true. */
#define CHECK(what)                                                                                                  \
    do {                                                                                                             \
        if (!(what)) {                                                                                               \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                       \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

/* Ends the test unless `call`, whose last argument is `&error`, returns `expected`. */
#define EXPECT(expected, call)                                                                                       \
    do {                                                                                                             \
        keystead_error *error = NULL;                                                                                \
        keystead_status said = (call);                                                                               \
        if (said != (expected)) {                                                                                    \
            fprintf(stderr, "%s:%d: %s, not %s: %s\n", __FILE__, __LINE__, keystead_status_name(said),               \
                    keystead_status_name(expected), keystead_error_message(error));                                  \
            exit(1);                                                                                                 \
        }                                                                                                            \
        CHECK(keystead_error_code(error) == said);                                                                   \
        CHECK((error == NULL) == (said == KEYSTEAD_OK));                                                             \
        keystead_error_free(error);                                                                                  \
    } while (0)

/* A client of the key servers that the harness started. */
static inline keystead_client *open_client(void)
{
    const char *config = getenv("KEYSTEAD_CONFIG");
    keystead_client *client = NULL;
    CHECK(config != NULL);
    EXPECT(KEYSTEAD_OK, keystead_client_open(config, &client, &error));
    return client;
}

#endif
