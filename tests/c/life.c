/* Keys live and end as the header says, and users have keys where the configuration names them. */
#include <string.h>

#include "check.h"

static const uint8_t TEXT[] = "Ada Lovelace";
static const char NAME[] = "c-life", VERSION[] = "c-life/1";

static keystead_status encrypts(const keystead_key *key)
{
    uint8_t message[256];
    size_t len;
    return keystead_key_encrypt(key, TEXT, sizeof TEXT, NULL, 0, message, sizeof message, &len, NULL);
}

/* The harness has made it, and nobody has activated it. */
static void a_key_that_waits_encrypts_once_it_is_activated(const keystead_client *client)
{
    keystead_key *key, *pinned;
    EXPECT(KEYSTEAD_E_KEY_STATE, keystead_client_key(client, "c-waiting", &key, &error));
    CHECK(key == NULL);
    EXPECT(KEYSTEAD_OK, keystead_client_key(client, "c-waiting/1", &pinned, &error));
    CHECK(encrypts(pinned) == KEYSTEAD_E_KEY_STATE);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_activate_key(client, "c-waiting", &error));
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND, keystead_client_activate_key(client, "c-waiting/2", &error));

    EXPECT(KEYSTEAD_OK, keystead_client_activate_key(client, "c-waiting/1", &error));
    EXPECT(KEYSTEAD_OK, keystead_client_key(client, "c-waiting", &key, &error));
    CHECK(encrypts(key) == KEYSTEAD_OK && encrypts(pinned) == KEYSTEAD_OK);
    EXPECT(KEYSTEAD_OK, keystead_client_activate_key(client, "c-waiting/1", &error));
    EXPECT(KEYSTEAD_OK,
           keystead_client_revoke_key(client, "c-waiting/1", KEYSTEAD_REVOCATION_CESSATION_OF_OPERATION, &error));
    EXPECT(KEYSTEAD_E_KEY_STATE, keystead_client_activate_key(client, "c-waiting/1", &error));
    keystead_key_free(key);
    keystead_key_free(pinned);
}

static void a_version_ends_in_steps(const keystead_client *client)
{
    keystead_key *key;
    uint8_t message[256], text[64];
    size_t message_len, text_len;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, NAME, &key, &error));
    EXPECT(KEYSTEAD_OK,
           keystead_key_encrypt(key, TEXT, sizeof TEXT, NULL, 0, message, sizeof message, &message_len, &error));

    EXPECT(KEYSTEAD_E_KEY_STATE, keystead_client_destroy_key(client, VERSION, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_revoke_key(client, VERSION, 99, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT,
           keystead_client_revoke_key(client, NAME, KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_revoke_key(client, VERSION, KEYSTEAD_REVOCATION_SUPERSEDED, &error));
    CHECK(encrypts(key) == KEYSTEAD_E_KEY_STATE);
    EXPECT(KEYSTEAD_OK, keystead_client_decrypt(client, message, message_len, NULL, 0, NAME, text, sizeof text,
                                                &text_len, &error));
    CHECK(text_len == sizeof TEXT && memcmp(text, TEXT, text_len) == 0);

    EXPECT(KEYSTEAD_OK, keystead_client_add_reference(client, VERSION, "backup of May", &error));
    EXPECT(KEYSTEAD_E_KEY_REFERENCED, keystead_client_destroy_key(client, VERSION, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_add_reference(client, VERSION, "two\nlines", &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_add_reference(client, VERSION, NULL, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_remove_reference(client, VERSION, "backup of May", &error));
    EXPECT(KEYSTEAD_OK, keystead_client_destroy_key(client, VERSION, &error));
    CHECK(encrypts(key) == KEYSTEAD_E_KEY_STATE);
    keystead_key_free(key);
}

static void a_key_of_one_version_encrypts_while_it_is_the_newest(const keystead_client *client)
{
    keystead_key *newest, *first, *rotated;
    uint8_t message[256], text[64];
    size_t message_len, text_len;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-pinned", &newest, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_key(client, "c-pinned/1", &first, &error));
    EXPECT(KEYSTEAD_OK,
           keystead_key_encrypt(first, TEXT, sizeof TEXT, NULL, 0, message, sizeof message, &message_len, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_rotate_key(client, "c-pinned", &rotated, &error));
    CHECK(encrypts(first) == KEYSTEAD_E_KEY_STATE && encrypts(newest) == KEYSTEAD_OK);
    EXPECT(KEYSTEAD_OK, keystead_key_decrypt(first, message, message_len, NULL, 0, text, sizeof text, &text_len, &error));
    EXPECT(KEYSTEAD_E_WRONG_KEY,
           keystead_key_decrypt(newest, message, message_len, NULL, 0, text, sizeof text, &text_len, &error));
    keystead_key_free(newest);
    EXPECT(KEYSTEAD_E_KEY_NOT_FOUND, keystead_client_key(client, "c-pinned/3", &newest, &error));
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_key(client, "c-pinned/0", &newest, &error));
    keystead_key_free(first);
    keystead_key_free(rotated);
}

static void what_is_purged_is_fetched_anew(const keystead_client *client)
{
    keystead_key *one, *other, *again;
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-purged", &one, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_create_key(client, "c-kept", &other, &error));
    EXPECT(KEYSTEAD_OK, keystead_client_purge(client, "c-purged", &error));
    CHECK(encrypts(one) == KEYSTEAD_E_KEY_STALE && encrypts(other) == KEYSTEAD_OK);
    EXPECT(KEYSTEAD_OK, keystead_client_key(client, "c-purged", &again, &error));
    CHECK(encrypts(again) == KEYSTEAD_OK);
    EXPECT(KEYSTEAD_OK, keystead_client_purge(client, NULL, &error));
    CHECK(encrypts(again) == KEYSTEAD_E_KEY_STALE && encrypts(other) == KEYSTEAD_E_KEY_STALE);
    keystead_key_free(one);
    keystead_key_free(other);
    keystead_key_free(again);
}

/* The harness's configuration has no template: it says so, with no output. */
static void a_user_without_a_template_has_no_key(const keystead_client *client)
{
    keystead_key *key = (keystead_key *)1;
    keystead_bytes *name = (keystead_bytes *)1;
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_key_name(client, "42", &name, &error));
    CHECK(name == NULL);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_register(client, "42", &key, &error));
    CHECK(key == NULL);
    EXPECT(KEYSTEAD_E_INVALID_ARGUMENT, keystead_client_key_for(client, NULL, &key, &error));
    EXPECT(KEYSTEAD_E_INVALID_HANDLE, keystead_client_key_for(NULL, "42", &key, &error));
}

int main(void)
{
    keystead_client *client = open_client();
    a_key_that_waits_encrypts_once_it_is_activated(client);
    a_version_ends_in_steps(client);
    a_key_of_one_version_encrypts_while_it_is_the_newest(client);
    what_is_purged_is_fetched_anew(client);
    a_user_without_a_template_has_no_key(client);
    keystead_client_free(client);
    return 0;
}
