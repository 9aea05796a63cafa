/*
 * Keystead: encrypt data at rest with keys that stay in a KMIP key manager.
 *
 * Generated from src/ffi by tests/header.rs; do not edit.
 *
 * NOUNS. A client is one opened configuration file: its key servers, key cache, log and audit trail. A key is
 * ready to use. A message is one encrypted value; it names its key and version, and is a COSE_Encrypt object
 * (RFC 9052), specified in docs/FORMAT.md. A stream is an encrypted file or pipe of any length, written by an
 * encryptor and read by a decryptor. Key bytes never cross this interface in either direction.
 *
 * EXAMPLE. A whole program is examples/c/encrypt_file.c.
 *
 *     keystead_client *client;
 *     keystead_key *key;
 *     keystead_error *error;
 *     if (keystead_client_open("/etc/orders/keystead.conf", &client, &error) != KEYSTEAD_OK
 *         || keystead_client_key(client, "customer-42", &key, &error) != KEYSTEAD_OK) {
 *         fprintf(stderr, "%s\n", keystead_error_message(error));
 *         keystead_error_free(error);
 *         exit(1);
 *     }
 *     size_t size = keystead_key_encrypted_size(key, text_len);
 *     uint8_t *message = malloc(size);
 *     keystead_status status = keystead_key_encrypt(key, text, text_len, row, row_len, message, size, &size, NULL);
 *     ...
 *     keystead_key_free(key);
 *     keystead_client_free(client);
 *
 * RESULTS. A call that can fail returns a keystead_status, KEYSTEAD_OK or one of KEYSTEAD_E_*, which the comments
 * name without that prefix. Its last argument, err, may be NULL. Otherwise *err is set to NULL at the start and,
 * only if the call fails, to an error that the caller frees. Nothing is kept per thread. A caller must be
 * prepared for codes that later versions add.
 *
 * OUTPUT. Outputs are named out_*. Where the size is known before, output goes into the caller's buffer, out;
 * elsewhere it comes as keystead_bytes. On failure the buffer is zeroed (an overlap with an input is refused and
 * leaves it as it was), *out_len is 0, or the size needed if the buffer was too small, and other outputs are NULL.
 *
 * POINTERS. Sizes are in bytes. NULL with length 0 is an empty input. NULL with a length, and any NULL where the
 * comment does not allow it, is INVALID_ARGUMENT or INVALID_HANDLE. Texts are NUL-terminated UTF-8, paths are
 * NUL-terminated bytes. The library keeps no pointer to an argument after a call returned.
 *
 * OWNERSHIP. Every client, key, encryptor, decryptor, error and keystead_bytes belongs to the caller and is freed once, by the
 * function of its type, in any order. Use after _free, or freeing twice, is a mistake that is usually, not
 * always, noticed (INVALID_HANDLE). A _free never waits for the network and cannot fail.
 *
 * THREADS. Any function may be called on any object from any thread at any time: const T * means that calls may
 * run at once. Only _free takes T *, and it must be the last to use the object.
 *
 * CALLBACKS. The library calls the application only through a keystead_on_record that was given to it, in a thread of
 * its own; its comment says what may be done there.
 *
 * BLOCKING. Every comment says whether its function may wait for the network or files, or uses the CPU alone.
 * No call waits longer than the deadline in the configuration.
 *
 * FORK. In a forked child every call on a client, key or stream of its parent says KEYSTEAD_E_FORKED; none hangs. A
 * child holds no keys; it opens a client of its own. Freeing what it inherited is allowed and has no effect on the
 * parent. Errors and keystead_bytes stay readable.
 *
 * FAULTS. A fault inside the library never ends the process: the call says KEYSTEAD_E_INTERNAL, as does every
 * later call on that object.
 *
 * LINKING. pkg-config --cflags --libs keystead, or find_package(keystead) and keystead::keystead in CMake. The
 * library needs nothing but libc, and stays loaded until the process ends.
 */


#ifndef KEYSTEAD_H
#define KEYSTEAD_H

#include <stddef.h>
#include <stdint.h>

// The call did what it says.
#define KEYSTEAD_OK 0

// An argument is missing, malformed or out of range.
#define KEYSTEAD_E_INVALID_ARGUMENT 101

// The client, key or stream is NULL, freed, or a pointer to something else.
#define KEYSTEAD_E_INVALID_HANDLE 102

// The output buffer is too small; the size needed was written to *out_len.
#define KEYSTEAD_E_BUFFER_TOO_SMALL 103

// The client, key or stream was made before a fork; open a client in the child.
#define KEYSTEAD_E_FORKED 104

// The client was closed.
#define KEYSTEAD_E_CLOSED 105

// The configuration is not valid TOML, or holds a key or value that is not in the schema.
#define KEYSTEAD_E_CONFIG_INVALID 201

// A file of the configuration cannot be read.
#define KEYSTEAD_E_CONFIG_UNREADABLE 202

// A file's owner, mode, type or folder lets others read or change it.
#define KEYSTEAD_E_FILE_EXPOSED 203

// A certificate or private key cannot be used, or they do not belong together.
#define KEYSTEAD_E_CERTIFICATE_INVALID 204

// The policy "strict" forbids this.
#define KEYSTEAD_E_POLICY_REFUSED 205

// The configuration, or a file it names, lies on a removable medium or a network mount.
#define KEYSTEAD_E_MOUNT_REFUSED 206

// The owner of the configuration is a user who can sign on.
#define KEYSTEAD_E_OWNER_SIGNS_ON 207

// Another client of this process, of another name, uses the same client certificate.
#define KEYSTEAD_E_CERTIFICATE_SHARED 208

// No configured key server answered; the detail lists every attempt.
#define KEYSTEAD_E_NO_SERVER 301

// The key server could not be reached: name not found, refused, unreachable.
#define KEYSTEAD_E_UNREACHABLE 302

// The deadline passed.
#define KEYSTEAD_E_DEADLINE 303

// The server's certificate was not issued by the configured CA.
#define KEYSTEAD_E_SERVER_UNTRUSTED 304

// The server's certificate is expired or not yet valid.
#define KEYSTEAD_E_SERVER_CERTIFICATE_EXPIRED 305

// The server's certificate is for another name.
#define KEYSTEAD_E_SERVER_NAME_MISMATCH 306

// The server refused our client certificate.
#define KEYSTEAD_E_CLIENT_CERTIFICATE_REFUSED 307

// The server does not speak TLS on this port.
#define KEYSTEAD_E_NOT_TLS 308

// The TLS handshake or connection failed for another reason.
#define KEYSTEAD_E_TLS_FAILED 309

// The connection ended before the whole reply had come.
#define KEYSTEAD_E_CONNECTION_LOST 310

// The reply is not valid KMIP.
#define KEYSTEAD_E_REPLY_MALFORMED 311

// The server's certificate was revoked by the authority that issued it.
#define KEYSTEAD_E_SERVER_CERTIFICATE_REVOKED 312

// The configured revocation lists do not tell whether the server's certificate was revoked.
#define KEYSTEAD_E_REVOCATION_UNKNOWN 313

// The key server has no such key.
#define KEYSTEAD_E_KEY_NOT_FOUND 401

// The key server refused the operation.
#define KEYSTEAD_E_SERVER_REFUSED 402

// The key server, or the KMIP version it speaks, lacks the operation.
#define KEYSTEAD_E_UNSUPPORTED 403

// The key server's answer contradicts the request: another name, algorithm or length.
#define KEYSTEAD_E_ANSWER_UNEXPECTED 404

// The key server denied permission to this client.
#define KEYSTEAD_E_PERMISSION_DENIED 405

// Two active keys carry the same name and version.
#define KEYSTEAD_E_KEY_AMBIGUOUS 406

// The key servers show only older versions of the key than were seen before.
#define KEYSTEAD_E_KEY_VERSION_LOST 407

// The data was altered, belongs to another key or context, or is not a message at all.
#define KEYSTEAD_E_NOT_AUTHENTIC 501

// The message names another key than the one expected or given.
#define KEYSTEAD_E_WRONG_KEY 502

// The key's state forbids this use.
#define KEYSTEAD_E_KEY_STATE 503

// The key's state could not be verified for longer than max_stale.
#define KEYSTEAD_E_KEY_STALE 504

// The key material is printable, constant or otherwise not random.
#define KEYSTEAD_E_KEY_WEAK 505

// The algorithm or key length is not allowed.
#define KEYSTEAD_E_ALGORITHM_REFUSED 506

// Something is known to need the key, so it is not destroyed.
#define KEYSTEAD_E_KEY_REFERENCED 507

// The configuration has no mask of this name for this role.
#define KEYSTEAD_E_ROLE_REFUSED 508

// The object is a part of a split key.
#define KEYSTEAD_E_KEY_SPLIT 509

// Another client of this process, of another name, uses the same key.
#define KEYSTEAD_E_KEY_SHARED 510

// A fault of the library itself; the client or key is not usable any more.
#define KEYSTEAD_E_INTERNAL 901

// No locked memory is left for keys.
#define KEYSTEAD_E_MEMORY_EXHAUSTED 902

// A system call failed.
#define KEYSTEAD_E_SYSTEM 903

// The log or the audit trail could not be written, and the configuration refuses unlogged work.
#define KEYSTEAD_E_LOG_FAILED 904

// Severities of records, which are those of syslog: the lower, the graver.
#define KEYSTEAD_SEVERITY_ALERT 1

// An operation failed for good.
#define KEYSTEAD_SEVERITY_ERROR 3

// An operation failed, or something is to be done.
#define KEYSTEAD_SEVERITY_WARNING 4

// A change of configuration or operation.
#define KEYSTEAD_SEVERITY_NOTICE 5

// An operation that succeeded.
#define KEYSTEAD_SEVERITY_INFO 6

// What only the level debug shows.
#define KEYSTEAD_SEVERITY_DEBUG 7

// The version may be in other hands. It becomes compromised, and neither encrypts nor decrypts.
#define KEYSTEAD_REVOCATION_KEY_COMPROMISE 2

// Another version took its place. It becomes deactivated, and goes on decrypting.
#define KEYSTEAD_REVOCATION_SUPERSEDED 5

// Its purpose ended. It becomes deactivated, and goes on decrypting.
#define KEYSTEAD_REVOCATION_CESSATION_OF_OPERATION 6

// So many bytes from the start of a stream always hold its header.
#define KEYSTEAD_STREAM_HEADER_MAX 256

// An output buffer longer than the input by this is enough for each call on a stream with up to 64 MiB of input.
#define KEYSTEAD_STREAM_ROOM 131072

// Output whose size is not known before the call: text or JSON. Free it with keystead_bytes_free(), which
// wipes it. It belongs to no client, and any number of threads may read it at once.
typedef struct keystead_bytes keystead_bytes;

// One opened configuration: its key servers, key cache, log and audit trail. An application has one, opens it
// once, and shares it among its threads.
typedef struct keystead_client keystead_client;

// Decrypts a stream, piece by piece and in constant memory. Calls on one of them take turns.
//
// What comes out of it was verified, but until keystead_decryptor_finish() succeeds it may be no more than the
// beginning: do not act on it before, or be able to undo it.
typedef struct keystead_decryptor keystead_decryptor;

// Encrypts a file or pipe of any length, piece by piece and in constant memory. Calls on one of them take turns.
typedef struct keystead_encryptor keystead_encryptor;

// Why a call failed. Made by a failing call whose last argument was not NULL; free it with
// keystead_error_free(). It belongs to no client, so it may be read and freed after the client was, and
// also in a forked child. Any number of threads may read it at once.
typedef struct keystead_error keystead_error;

// A key that is ready to use. It encrypts and decrypts with the CPU alone: no network, no allocation, no system
// call, no lock (the log levels verbose and debug record each use, which takes all but a network). One key may serve
// any number of threads.
typedef struct keystead_key keystead_key;

// What every call that can fail returns: KEYSTEAD_OK, or the reason as one of KEYSTEAD_E_*.
//
// Codes come in blocks: 1xx arguments and handles, 2xx configuration, 3xx network and TLS, 4xx the key
// server's answer, 5xx cryptography and key state, 9xx internal. Codes are appended, never reused.
typedef int32_t keystead_status;

// Takes one record of the log: its severity (KEYSTEAD_SEVERITY_*; a caller must be prepared for others), its event
// (docs/EVENTS.md), and the record itself, record[0..record_len], as one line without line end. A NUL follows both
// texts. They are valid until the function returns.
//
// It is called by one thread of the library, one record after the other, in the order of their serials; never in a
// forked child. It may call any function of this library, also keystead_client_close() and _free() on its client,
// after which it may be called for another second; a call that is recorded makes a further record. It may take its
// time: no call of the application waits for it. 8192 records wait for it at most; what finds no room is counted,
// and the record log.lost tells how many it were. It must return: no exception and no longjmp may leave it.
typedef void (*keystead_on_record)(void *user_data,
                                   int32_t severity,
                                   const char *event,
                                   const char *record,
                                   size_t record_len);

// Takes back what was given as user_data: nothing of the library uses it any more. Called once, by any thread.
typedef void (*keystead_on_release)(void *user_data);

// Why a version of a key is revoked: one of KEYSTEAD_REVOCATION_*.
typedef int32_t keystead_revocation;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library, for example "1.2.3". CPU only; never NULL; not to be freed.
const char *keystead_version(void);

// The name of a status as this header spells it, for example "KEYSTEAD_E_FORKED", or "unknown status" for a
// number that is none. CPU only; never NULL; not to be freed.
const char *keystead_status_name(keystead_status status);

// The status that the failing call returned; KEYSTEAD_OK for NULL, KEYSTEAD_E_INVALID_HANDLE for a pointer
// that is no error. CPU only.
keystead_status keystead_error_code(const keystead_error *error);

// The failure in a sentence for people, UTF-8: what was tried, against what, why it failed, what to do. Never
// holds a key, a password or a plaintext. Never NULL ("" for NULL); valid until the error is freed. CPU only.
const char *keystead_error_message(const keystead_error *error);

// The failure for programs: one line of JSON with "code", "name", "message", "retryable", and where they apply
// "file", "line", "column", "needed" (bytes) and "attempts": for every key server that was tried, in order, its
// "server", "address", "code" and "reason". Never NULL ("" for NULL); valid until the error is freed. CPU only.
const char *keystead_error_detail(const keystead_error *error);

// 1 if the same call may succeed later without a change of configuration or data, else 0 (also for NULL). CPU
// only.
int32_t keystead_error_is_retryable(const keystead_error *error);

// Frees an error. NULL is ignored. CPU only.
void keystead_error_free(keystead_error *error);

// The first byte. A NUL follows the last one, so text can be used as a C string. NULL for NULL; valid until the
// bytes are freed. CPU only.
const uint8_t *keystead_bytes_data(const keystead_bytes *bytes);

// The number of bytes, without the NUL behind them; 0 for NULL. CPU only.
size_t keystead_bytes_len(const keystead_bytes *bytes);

// Wipes and frees bytes. NULL is ignored. CPU only.
void keystead_bytes_free(keystead_bytes *bytes);

// Reads and checks the configuration file at config_path, and opens the log and the audit trail. It never waits
// for a key server: it succeeds while all of them are down. Blocks on files only; where it fails, a second at most on a
// collector or an on_record, which are told why.
//
// On success *out_client is a client to be freed with keystead_client_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL; CONFIG_UNREADABLE, CONFIG_INVALID, FILE_EXPOSED,
// CERTIFICATE_INVALID or POLICY_REFUSED, with file and line in the error; LOG_FAILED; SYSTEM;
// MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_client_open(const char *config_path,
                                     keystead_client **out_client,
                                     keystead_error **err);

// As keystead_client_open(), and hands every record of the log to on_record, at the level and in the format of the
// configuration. This is beside the configuration's target: the records for on_record are a chain of their own, as
// docs/LOG.md describes it. A warning of the levels verbose and debug goes there and not to standard error, and so
// does what the library has to say of itself (the event library.diagnostic). At level none nothing does.
//
// on_release, unless it is NULL, is called once with user_data: when on_record was called for the last time and
// user_data may be freed, also if this call fails. keystead_client_close() waits a second at most for on_record to
// take what is left; then no further call begins. But after a close from within on_record, which waits for nothing,
// and a free without a close, calls may begin for another second. Only on_release ends them all: until then, user_data
// and what on_record uses must stay.
//
// Returns what keystead_client_open() returns; INVALID_ARGUMENT also if on_record is NULL.
keystead_status keystead_client_open_with(const char *config_path,
                                          keystead_on_record on_record,
                                          keystead_on_release on_release,
                                          void *user_data,
                                          keystead_client **out_client,
                                          keystead_error **err);

// Closes a client: wipes its keys, ends its connections, writes its last record. Every later call on it, and
// every use of a key that came from it, says KEYSTEAD_E_CLOSED. Closing again does nothing. The client is still
// to be freed. Blocks on files only, and a second at most on an on_record that is slow.
//
// Returns KEYSTEAD_OK; INVALID_HANDLE; FORKED; LOG_FAILED if records could not be written and the configuration
// refuses unlogged work (the client is closed all the same); INTERNAL.
keystead_status keystead_client_close(const keystead_client *client,
                                      keystead_error **err);

// Frees a client; NULL is ignored. One that was not closed is closed without a word should the last record fail,
// so call keystead_client_close() before. From now on its keys say KEYSTEAD_E_CLOSED; they are freed on their
// own. Never waits for the network.
void keystead_client_free(keystead_client *client);

// The newest active version of the key called name (1 to 128 of A-Z a-z 0-9 . _ -), from the cache or from
// the key servers. Threads that ask for one missing key cause one request. Blocks on the network until the
// deadline of the configuration, unless the key is cached.
//
// For "customer-42/3" the key is that version and does not follow its name. It decrypts as the version's state
// allows. It encrypts only while it is the newest active version, and says KEYSTEAD_E_KEY_STATE from when a newer one
// is known: at once where this client rotates the key, elsewhere within version_ttl.
//
// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; NO_SERVER with every server that was
// tried in the error's detail, DEADLINE or another 3xx; KEY_NOT_FOUND or another 4xx; KEY_STATE, KEY_STALE,
// KEY_WEAK or ALGORITHM_REFUSED for a key that must not be used; LOG_FAILED; SYSTEM; MEMORY_EXHAUSTED;
// INTERNAL.
keystead_status keystead_client_key(const keystead_client *client,
                                    const char *name,
                                    keystead_key **out_key,
                                    keystead_error **err);

// Makes version 1 of the key called name (1 to 128 of A-Z a-z 0-9 . _ -) on the key server. Where the name has
// a key, it gives that one as keystead_client_key() does, so any number of processes may call it for one name.
// Blocks on the network until the deadline of the configuration.
//
// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
//
// Returns what keystead_client_key() returns, except KEY_NOT_FOUND.
keystead_status keystead_client_create_key(const keystead_client *client,
                                           const char *name,
                                           keystead_key **out_key,
                                           keystead_error **err);

// Makes a new version of the key called name on the key server. What is encrypted from now on uses it: by every
// keystead_key of that name of this client at once, elsewhere within the time to live of the cache. What older
// versions encrypted stays readable by keystead_client_decrypt(). Blocks on the network until the deadline of the
// configuration.
//
// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
//
// Returns what keystead_client_key() returns.
keystead_status keystead_client_rotate_key(const keystead_client *client,
                                           const char *name,
                                           keystead_key **out_key,
                                           keystead_error **err);

// Decrypts message[0..message_len] with the key that it names, if that name matches expect: a key name, a
// prefix followed by * ("customer-*"), or "*" for any (UTF-8). The name is compared before any cache or network
// access, so that a value of one customer cannot be slipped into another's row. aad[0..aad_len] must be what
// the message was encrypted with. Blocks on the network until the deadline of the configuration, unless the key
// is cached; where that matters, use keystead_key_decrypt().
//
// The plaintext goes to out[0..out_capacity], which may not overlap message or aad, and its size to *out_len.
// keystead_message_decrypted_size() tells the size before. If the buffer is too small, *out_len is the size
// needed. On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; WRONG_KEY if the
// name does not match expect; NOT_AUTHENTIC for whatever is altered, of another context or not a message; and
// what keystead_client_key() returns for a key that cannot be had or used.
keystead_status keystead_client_decrypt(const keystead_client *client,
                                        const uint8_t *message,
                                        size_t message_len,
                                        const uint8_t *aad,
                                        size_t aad_len,
                                        const char *expect,
                                        uint8_t *out,
                                        size_t out_capacity,
                                        size_t *out_len,
                                        keystead_error **err);

// Reads the configuration file, and every file that it refers to, again, and takes up what changed: the key servers
// with their certificates, users and passwords, and the rules of failover. Renewed certificates are taken up within
// seconds without this call, too. What else may have changed is in force once a client is opened; the log says so.
// Blocks on files only.
//
// Returns what keystead_client_open() returns, INVALID_HANDLE, FORKED or CLOSED. On any failure the client goes on as
// it was.
keystead_status keystead_client_reload(const keystead_client *client,
                                       keystead_error **err);

// Decrypts as keystead_client_decrypt() does, and gives only what a role sees of the plaintext under a mask, as the
// [[mask]] sections of the configuration say. mask and role are UTF-8. The role is checked before anything is looked
// up; what is not shown never leaves the call. The application vouches that its user has the role.
//
// The mask, which is UTF-8, goes to out[0..out_capacity], and its size to *out_len. A buffer as large as the message is
// large enough; if it is too small, *out_len is the size needed. What is behind the mask in it is zeroed.
//
// Returns ROLE_REFUSED if the configuration has no such mask for this role, and what keystead_client_decrypt() returns.
keystead_status keystead_client_decrypt_masked(const keystead_client *client,
                                               const uint8_t *message,
                                               size_t message_len,
                                               const uint8_t *aad,
                                               size_t aad_len,
                                               const char *expect,
                                               const char *mask,
                                               const char *role,
                                               uint8_t *out,
                                               size_t out_capacity,
                                               size_t *out_len,
                                               keystead_error **err);

// As keystead_client_decrypt_masked(), with a key at hand: that of a data space, whose messages only the unlocked key
// decrypts. The masks are those of the client's configuration. CPU only, and files.
//
// Returns ROLE_REFUSED if the configuration has no such mask for this role; LOG_FAILED; and what keystead_key_decrypt()
// returns.
keystead_status keystead_client_decrypt_masked_with(const keystead_client *client,
                                                    const keystead_key *key,
                                                    const uint8_t *message,
                                                    size_t message_len,
                                                    const uint8_t *aad,
                                                    size_t aad_len,
                                                    const char *mask,
                                                    const char *role,
                                                    uint8_t *out,
                                                    size_t out_capacity,
                                                    size_t *out_len,
                                                    keystead_error **err);

// What the client knows of itself, as one JSON object: "client" (its name), "version" (the library's),
// "memory_tier" (how the memory that keys are in is protected), "config" (its "file", when it was "loaded", and the
// "reload_error" that keeps a changed one from being taken up), "cache", "log", "on_record" and "audit" (how many records
// were "lost", "failing_since" when none can be written, in seconds since 1970, and for which "reason"; null where
// there is no such target), and "servers" (for each its "state", KMIP
// version, vendor, last error, latency, and when our certificate and its own end). Does not block.
//
// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
keystead_status keystead_client_status(const keystead_client *client,
                                       keystead_bytes **out_json,
                                       keystead_error **err);

// Drops the sessions of every key, so that nothing encrypted after a snapshot of the machine can repeat what was
// encrypted before it. Call it right before a planned snapshot. Keys stay usable. Does not block.
//
// Returns KEYSTEAD_OK; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
keystead_status keystead_client_quiesce(const keystead_client *client,
                                        keystead_error **err);

// Makes the first version of the key encryption key (KEK) called name on the key servers; where there is one, it does
// nothing. A KEK encrypts the keys of data spaces and never leaves the key servers. How it does so is fixed now: the
// best way that all configured servers offer, so all of them have to answer. Blocks on the network until the deadline of
// the configuration.
//
// On success *out_kek_id is the name and the newest version, "master/1", to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; UNSUPPORTED where a server speaks less than
// KMIP 1.2; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; INTERNAL.
keystead_status keystead_client_create_kek(const keystead_client *client,
                                           const char *name,
                                           keystead_bytes **out_kek_id,
                                           keystead_error **err);

// Makes a new version of the KEK called name, for what is protected from now on; keystead_client_rewrap_space() moves what
// is there. How it protects may be better than that of the version before, where all configured servers have come to offer
// that, and is never less. All of them have to answer. Blocks on the network until the deadline of the configuration.
//
// On success *out_kek_id is the name and version, "master/2", to be freed with keystead_bytes_free(), else NULL.
//
// Returns what keystead_client_create_kek() returns; KEY_NOT_FOUND if there is no such KEK; UNSUPPORTED also where the
// servers offer less than before.
keystead_status keystead_client_rotate_kek(const keystead_client *client,
                                           const char *name,
                                           keystead_bytes **out_kek_id,
                                           keystead_error **err);

// Ends the time of a KEK's version: nothing is protected under it any more. kek_id is its name and version, why one of
// KEYSTEAD_REVOCATION_*. Some key servers unlock nothing with a deactivated KEK, so that one is not deactivated while the
// protected DEK in any file is known to be under it; rewrap those first. One that is compromised ends at once, and its spaces
// stop within the time to live of the caches. Blocks on the network until the deadline of the configuration, and on
// files.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_NOT_FOUND if there is no such version; KEY_STATE
// if its state does not allow it; KEY_REFERENCED while anything is known to need it; KEY_AMBIGUOUS if the servers hold two;
// NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; INTERNAL.
keystead_status keystead_client_revoke_kek(const keystead_client *client,
                                           const char *kek_id,
                                           keystead_revocation why,
                                           keystead_error **err);

// Destroys a KEK's version on the key servers: what is under it can never be unlocked again, and so its data never be read.
// It takes two steps: a version that is active is refused until it was revoked. kek_id is its name and version. Blocks on
// the network until the deadline of the configuration, and on files.
//
// Returns what keystead_client_revoke_kek() returns; KEY_STATE while it is active.
keystead_status keystead_client_destroy_kek(const keystead_client *client,
                                            const char *kek_id,
                                            keystead_error **err);

// As keystead_client_add_reference(), for a version of a KEK, which is then neither deactivated nor destroyed. Creating and
// rewrapping a space does so with its file. Blocks on the network until the deadline of the configuration, and on files.
//
// Returns what keystead_client_add_reference() returns; KEY_NOT_FOUND if there is no such version; KEY_AMBIGUOUS if the
// servers hold two; NO_SERVER or another 3xx; another 4xx.
keystead_status keystead_client_add_kek_reference(const keystead_client *client,
                                                  const char *kek_id,
                                                  const char *what,
                                                  keystead_error **err);

// Forgets that what needs a version of a KEK. Blocks as keystead_client_add_kek_reference() does.
//
// Returns what keystead_client_add_kek_reference() returns.
keystead_status keystead_client_remove_kek_reference(const keystead_client *client,
                                                     const char *kek_id,
                                                     const char *what,
                                                     keystead_error **err);

// Creates the data space called name: the key manager makes its key and encrypts it under the newest version of the
// KEK called kek, and the result, the protected DEK, is written to the file at file_path, to be kept near the data. A
// crash leaves the whole file or none. Then the key manager's own copy of the key is destroyed, or kept if keep_original
// is not 0.
//
// The file must not be there yet. If it is, with the same two names in it, the space is unlocked, and what an earlier call
// left undone is done: so the call may be repeated, and several threads and processes may make it at the same time: all get
// the same key. When it fails before the file is there, the key that was made is destroyed. Blocks on the network until the
// deadline of the configuration, and on files.
//
// On success *out_key is the space's key, as from keystead_client_unlock_space(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the file is that of another space;
// NOT_AUTHENTIC if it is no protected DEK; KEY_NOT_FOUND if there is no such KEK; UNSUPPORTED below KMIP 1.2; KEY_STATE;
// KEY_WEAK; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_client_create_space(const keystead_client *client,
                                             const char *name,
                                             const char *kek,
                                             const char *file_path,
                                             int32_t keep_original,
                                             keystead_key **out_key,
                                             keystead_error **err);

// Unlocks the data space whose protected DEK is protected_dek[0..protected_dek_len], the content of the file that
// keystead_client_create_space() wrote: has the key manager decrypt it, if the space's name matches expect, which is a
// name, a prefix followed by * ("orders-*"), or "*" for any. Expect as little as possible: somebody who knows the key of one
// space could put its protected DEK in the place of another's. Blocks on the network until the deadline of the
// configuration.
//
// On success *out_key is the space's key, to be freed with keystead_key_free(), else NULL. It is used like any other; the
// messages name it "space:NAME/V", and only the unlocked key decrypts them. It stops to work within the time to live
// of the cache when the KEK is compromised or destroyed.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the space is not the expected one;
// NOT_AUTHENTIC for whatever is altered or no protected DEK; KEY_NOT_FOUND if the key servers lack its KEK; KEY_STATE if
// that is compromised or destroyed; UNSUPPORTED; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM;
// MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_client_unlock_space(const keystead_client *client,
                                             const uint8_t *protected_dek,
                                             size_t protected_dek_len,
                                             const char *expect,
                                             keystead_key **out_key,
                                             keystead_error **err);

// Has the protected DEK in the file at file_path encrypted under the newest version of the KEK called kek, which may be
// another KEK than before. The space's key and its data stay the same, and keys that were unlocked go on. The file is
// replaced only by what was unlocked once; a crash leaves the old or the new one. Where it is under that version already,
// nothing is done. Whoever rewraps the same file at the same time is waited for. Blocks on the network until the deadline of
// the configuration, and on files.
//
// On success *out_kek_id is the name and version of the KEK that it is under now, "master/2", to be freed with
// keystead_bytes_free(), else NULL.
//
// Returns what keystead_client_unlock_space() returns; DEADLINE.
keystead_status keystead_client_rewrap_space(const keystead_client *client,
                                             const char *kek,
                                             const char *file_path,
                                             keystead_bytes **out_kek_id,
                                             keystead_error **err);

// Destroys the key manager's own copy of the key of a data space, which keep_original or a creation that was interrupted has
// left: what is protected in a file goes on, and what only that copy can open is lost for ever. key_id is what
// keystead_key_id() says of the space's key, "space:orders/1", or "orders/1". To destroy what is destroyed is no error where
// the key server remembers it. Blocks on the network until the deadline of the configuration.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_NOT_FOUND if there is none; KEY_STATE;
// KEY_REFERENCED; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; INTERNAL.
keystead_status keystead_client_discard_original(const keystead_client *client,
                                                 const char *key_id,
                                                 keystead_error **err);

// Everything that the protected DEK protected_dek[0..protected_dek_len] says of itself, as one JSON object: kind, key,
// kek, rung, algorithm, size, IV, authenticator. Needs no key, and so proves nothing. CPU only.
//
// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a protected DEK; INTERNAL.
keystead_status keystead_protected_dek_inspect(const uint8_t *protected_dek,
                                               size_t protected_dek_len,
                                               keystead_bytes **out_json,
                                               keystead_error **err);

// The name of the key of the user, customer or document that id tells apart: what keys.template of the
// configuration makes of it, or of its pseudonym where keys.pseudonym_key is set. It is also what
// keystead_client_decrypt() is to expect for that user's data. Blocks on the network until the deadline of the
// configuration where names are pseudonyms and their key is not cached.
//
// On success *out_name is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for an id that makes no key name, or without a template; and what
// keystead_client_key() returns for the key of pseudonyms.
keystead_status keystead_client_key_name(const keystead_client *client,
                                         const char *id,
                                         keystead_bytes **out_name,
                                         keystead_error **err);

// The key of the user, customer or document that id tells apart, as keystead_client_key() gives the key of
// keystead_client_key_name(). Blocks on the network until the deadline of the configuration, unless it is cached.
//
// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
//
// Returns what keystead_client_key_name() and keystead_client_key() return.
keystead_status keystead_client_key_for(const keystead_client *client,
                                        const char *id,
                                        keystead_key **out_key,
                                        keystead_error **err);

// Makes the key of the user, customer or document that id tells apart. Where there is one, it gives that, so any
// number of processes may register one user. Blocks on the network until the deadline of the configuration.
//
// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
//
// Returns what keystead_client_key_name() and keystead_client_create_key() return.
keystead_status keystead_client_register(const keystead_client *client,
                                         const char *id,
                                         keystead_key **out_key,
                                         keystead_error **err);

// Makes a pre-active version usable. key_id is its name and version: "customer-42/3". If it is the newest, it is used
// as after keystead_client_rotate_key(). Blocks on the network until the deadline of the configuration.
//
// Returns what keystead_client_key() returns; KEY_STATE if the version is neither pre-active nor active.
keystead_status keystead_client_activate_key(const keystead_client *client,
                                             const char *key_id,
                                             keystead_error **err);

// Ends a version's time on the key server: it encrypts no more, and goes on decrypting unless it is compromised.
// key_id is its name and version, why one of KEYSTEAD_REVOCATION_*. Other processes follow within the time to live
// of their caches. Blocks on the network until the deadline of the configuration.
//
// Returns what keystead_client_key() returns; KEY_STATE if the version's state does not allow it.
keystead_status keystead_client_revoke_key(const keystead_client *client,
                                           const char *key_id,
                                           keystead_revocation why,
                                           keystead_error **err);

// Destroys a version on the key server. What it encrypted can never be read again. It takes two steps: a version
// that is active is refused until it was revoked. key_id is its name and version. Blocks on the network until the
// deadline of the configuration.
//
// Returns what keystead_client_key() returns; KEY_STATE while it is active; KEY_REFERENCED while anything is known
// to need it, see keystead_client_add_reference().
keystead_status keystead_client_destroy_key(const keystead_client *client,
                                            const char *key_id,
                                            keystead_error **err);

// Remembers that what (one line that people understand: a table, an archive) needs a version, which is then not
// destroyed. key_id is its name and version. It is kept in the file of keys.state, without which it ends with this
// client. Remembering twice is once. Blocks on files, and while any process ends a version (destroys it, or revokes
// a key encryption key), until that is over or the deadline of the configuration: so what was remembered is what no
// end overlooked.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT unless what is one line of 1 to 256 bytes; INVALID_HANDLE; FORKED; CLOSED;
// DEADLINE where that took too long, with nothing remembered; LOG_FAILED; SYSTEM; INTERNAL.
keystead_status keystead_client_add_reference(const keystead_client *client,
                                              const char *key_id,
                                              const char *what,
                                              keystead_error **err);

// Forgets that what needs a version. Blocks on files only.
//
// Returns what keystead_client_add_reference() returns, except DEADLINE.
keystead_status keystead_client_remove_reference(const keystead_client *client,
                                                 const char *key_id,
                                                 const char *what,
                                                 keystead_error **err);

// Wipes the versions of the key called name from memory, or those of every key if name is NULL. What is held of them
// says KEY_STALE from now on; keystead_client_key() fetches anew. Blocks on files only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; LOG_FAILED; INTERNAL.
keystead_status keystead_client_purge(const keystead_client *client,
                                      const char *name,
                                      keystead_error **err);

// The name and version that new messages get, as text: "customer-42/3". CPU only.
//
// On success *out_id is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
keystead_status keystead_key_id(const keystead_key *key,
                                keystead_bytes **out_id,
                                keystead_error **err);

// The size in bytes of the message for a plaintext of plaintext_len bytes; 0 if no message can hold that much,
// or if the key is not usable (NULL, freed, made before a fork). Pure arithmetic.
//
// A key follows its name, and a version with one more digit (9 to 10) makes messages one byte longer: if the key
// is rotated between this call and the encryption, that may say BUFFER_TOO_SMALL and the size that is needed now.
size_t keystead_key_encrypted_size(const keystead_key *key,
                                   size_t plaintext_len);

// Encrypts plaintext[0..plaintext_len]. aad[0..aad_len] is not stored, but must be the same when the message is
// decrypted: give what the value belongs to (table, column, row), so that it is refused anywhere else. CPU only.
//
// The message goes to out[0..out_capacity], which may not overlap plaintext or aad, and its size to *out_len;
// keystead_key_encrypted_size() tells the size before. If the buffer is too small, *out_len is the size needed.
// On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, or a plaintext too large for a
// message; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; KEY_STATE if the key must not encrypt any more;
// KEY_STALE if that could not be verified for longer than max_stale; ANSWER_UNEXPECTED while key servers show something
// else in the place of the key; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_key_encrypt(const keystead_key *key,
                                     const uint8_t *plaintext,
                                     size_t plaintext_len,
                                     const uint8_t *aad,
                                     size_t aad_len,
                                     uint8_t *out,
                                     size_t out_capacity,
                                     size_t *out_len,
                                     keystead_error **err);

// Decrypts message[0..message_len], which must name this key and its version; keystead_client_decrypt() finds
// the key of any message. aad[0..aad_len] must be what the message was encrypted with. CPU only.
//
// The plaintext goes to out[0..out_capacity], which may not overlap message or aad, and its size to *out_len;
// keystead_message_decrypted_size() tells the size before. If the buffer is too small, *out_len is the size
// needed. On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; WRONG_KEY if the
// message names another key or version; NOT_AUTHENTIC for whatever is altered, of another context or not a
// message; KEY_STATE; KEY_STALE; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_key_decrypt(const keystead_key *key,
                                     const uint8_t *message,
                                     size_t message_len,
                                     const uint8_t *aad,
                                     size_t aad_len,
                                     uint8_t *out,
                                     size_t out_capacity,
                                     size_t *out_len,
                                     keystead_error **err);

// Frees a key; NULL is ignored. The client keeps its cached copy. Does not block.
void keystead_key_free(keystead_key *key);

// The size in bytes of the plaintext of message[0..message_len], to *out_len (0 on failure). Needs no key, and so
// proves nothing: only decryption tells whether a message is authentic. CPU only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a message; INTERNAL.
keystead_status keystead_message_decrypted_size(const uint8_t *message,
                                                size_t message_len,
                                                size_t *out_len,
                                                keystead_error **err);

// The name and version of the key that message[0..message_len] says it needs, as text: "customer-42/3". The message
// may also be the first KEYSTEAD_STREAM_HEADER_MAX bytes of a stream, or all of a shorter one. Needs no key, and so
// proves nothing. CPU only.
//
// On success *out_id is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is neither a message nor a stream; INTERNAL.
keystead_status keystead_message_key_id(const uint8_t *message,
                                        size_t message_len,
                                        keystead_bytes **out_id,
                                        keystead_error **err);

// Everything that message[0..message_len] says of itself, as one JSON object: kind, key, algorithm, sizes, IV,
// salt, key commitment. Needs no key, and so proves nothing. CPU only.
//
// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a message; INTERNAL.
keystead_status keystead_message_inspect(const uint8_t *message,
                                         size_t message_len,
                                         keystead_bytes **out_json,
                                         keystead_error **err);

// Begins a stream. aad[0..aad_len], at most 65536 bytes, is not stored, but must be the same when the stream is
// decrypted. The stream keeps the key's current version to its end, also when the key is rotated or freed or
// the client closed; its own key is wiped when it is freed. CPU only, save for a system call for random bytes.
//
// On success *out_encryptor is to be freed with keystead_encryptor_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_STATE if the key must not encrypt any
// more; KEY_STALE if that could not be verified for longer than max_stale; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_key_encrypt_stream(const keystead_key *key,
                                            const uint8_t *aad,
                                            size_t aad_len,
                                            keystead_encryptor **out_encryptor,
                                            keystead_error **err);

// The size in bytes of what the next keystead_encryptor_update() with plaintext_len bytes writes, if no other
// call comes between; 0 if the encryptor is not usable or a stream cannot be that long. Pure arithmetic.
size_t keystead_encryptor_update_size(const keystead_encryptor *encryptor,
                                      size_t plaintext_len);

// Encrypts the next plaintext_len bytes, of any number. What is ready of the stream goes to
// out[0..out_capacity], which may not overlap plaintext, and its size, which may be 0, to *out_len. If the
// buffer is too small, *out_len is the size needed and nothing was taken: call again. CPU only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, a stream that is over, or more than
// 2^48 bytes; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; INTERNAL.
keystead_status keystead_encryptor_update(const keystead_encryptor *encryptor,
                                          const uint8_t *plaintext,
                                          size_t plaintext_len,
                                          uint8_t *out,
                                          size_t out_capacity,
                                          size_t *out_len,
                                          keystead_error **err);

// Writes the end of the stream, which is refused without it, to out[0..out_capacity], and its size to *out_len:
// at most KEYSTEAD_STREAM_ROOM. If the buffer is too small, *out_len is the size needed: call again. CPU only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT if the stream is over; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED;
// INTERNAL.
keystead_status keystead_encryptor_finish(const keystead_encryptor *encryptor,
                                          uint8_t *out,
                                          size_t out_capacity,
                                          size_t *out_len,
                                          keystead_error **err);

// Frees an encryptor and wipes what it holds; NULL is ignored. Does not block.
void keystead_encryptor_free(keystead_encryptor *encryptor);

// Begins to decrypt the stream that begins with start[0..start_len]: its first KEYSTEAD_STREAM_HEADER_MAX bytes or
// more, or all of a shorter one. The key is the one that the header names, if that name matches expect, as for
// keystead_client_decrypt(). aad[0..aad_len] must be what the stream was encrypted with. Blocks on the network
// until the deadline of the configuration, unless the key is cached.
//
// On success *out_decryptor is to be freed with keystead_decryptor_free(), else NULL. Give everything behind the
// first keystead_decryptor_header_size() bytes of the stream to keystead_decryptor_update().
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the name does not match
// expect; NOT_AUTHENTIC for a header that is altered, of another context or not one of a stream; and what
// keystead_client_key() returns for a key that cannot be had or used.
keystead_status keystead_client_decrypt_stream(const keystead_client *client,
                                               const uint8_t *start,
                                               size_t start_len,
                                               const uint8_t *aad,
                                               size_t aad_len,
                                               const char *expect,
                                               keystead_decryptor **out_decryptor,
                                               keystead_error **err);

// As keystead_client_decrypt_stream(), with this key, which the stream must name with its version: the way to the streams
// of a data space. CPU only.
//
// On success *out_decryptor is to be freed with keystead_decryptor_free(), else NULL.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the stream names another key or
// version; NOT_AUTHENTIC; KEY_STATE; KEY_STALE; MEMORY_EXHAUSTED; INTERNAL.
keystead_status keystead_key_decrypt_stream(const keystead_key *key,
                                            const uint8_t *start,
                                            size_t start_len,
                                            const uint8_t *aad,
                                            size_t aad_len,
                                            keystead_decryptor **out_decryptor,
                                            keystead_error **err);

// How many bytes the header took at the start of the stream; 0 if the decryptor is not usable.
size_t keystead_decryptor_header_size(const keystead_decryptor *decryptor);

// Takes the next stream_len bytes of the stream, of any number. The plaintext that is now verified goes to
// out[0..out_capacity], which may not overlap stream, and its size, which may be 0, to *out_len. The buffer is
// to hold stream_len + 65536 bytes; if it is too small, *out_len is that size and nothing was taken. CPU only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, or a stream that is over;
// INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; NOT_AUTHENTIC, now and from now on, if anything is altered, missing,
// exchanged or added: what was decrypted before is genuine but incomplete, so discard it; INTERNAL.
keystead_status keystead_decryptor_update(const keystead_decryptor *decryptor,
                                          const uint8_t *stream,
                                          size_t stream_len,
                                          uint8_t *out,
                                          size_t out_capacity,
                                          size_t *out_len,
                                          keystead_error **err);

// To be called where the stream ends: tells whether that is its end. CPU only.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT if the stream is over; INVALID_HANDLE; FORKED; NOT_AUTHENTIC if its end is
// missing: what was decrypted is genuine but incomplete, so discard it; INTERNAL.
keystead_status keystead_decryptor_finish(const keystead_decryptor *decryptor,
                                          keystead_error **err);

// Frees a decryptor and wipes what it holds; NULL is ignored. Does not block.
void keystead_decryptor_free(keystead_decryptor *decryptor);

// Encrypts count values in one call, at most 1048576: value i is plaintexts[i][0..plaintext_lens[i]], its
// associated data aads[i][0..aad_lens[i]]; NULL for both arrays of aads means none for any value. Every value
// becomes a message, like those of keystead_key_encrypt(). All or nothing. CPU only.
//
// The messages go to out[0..out_capacity], one after the other, and their size to *out_len: message i is at
// out_offsets[i] up to out_offsets[i + 1], so out_offsets has count + 1 places. The outputs may not overlap an
// input or each other. If the buffer is too small, *out_len is the size needed. On any failure out is zeroed,
// out_offsets tells nothing, and *out_len is 0 unless the buffer was too small.
//
// Returns what keystead_key_encrypt() returns.
keystead_status keystead_key_encrypt_many(const keystead_key *key,
                                          const uint8_t *const *plaintexts,
                                          const size_t *plaintext_lens,
                                          const uint8_t *const *aads,
                                          const size_t *aad_lens,
                                          size_t count,
                                          uint8_t *out,
                                          size_t out_capacity,
                                          size_t *out_offsets,
                                          size_t *out_len,
                                          keystead_error **err);

// Decrypts count messages of this key and its version in one call, as keystead_key_encrypt_many() encrypts: the
// plaintexts go to out, one after the other, which never takes more than the messages did. All or nothing: if one
// is refused, the error says which, and there is no output. CPU only.
//
// Returns what keystead_key_decrypt() returns.
keystead_status keystead_key_decrypt_many(const keystead_key *key,
                                          const uint8_t *const *messages,
                                          const size_t *message_lens,
                                          const uint8_t *const *aads,
                                          const size_t *aad_lens,
                                          size_t count,
                                          uint8_t *out,
                                          size_t out_capacity,
                                          size_t *out_offsets,
                                          size_t *out_len,
                                          keystead_error **err);

// Decrypts count messages of any keys and versions in one call, as keystead_key_decrypt_many() does those of one. Each
// is decrypted with the key that it names, if all of these names match expect, as for keystead_client_decrypt(); they
// are compared before any cache or network access. Blocks on the network until the deadline of the configuration for
// each key that is not cached.
//
// Returns what keystead_client_decrypt() returns.
keystead_status keystead_client_decrypt_many(const keystead_client *client,
                                             const uint8_t *const *messages,
                                             const size_t *message_lens,
                                             const uint8_t *const *aads,
                                             const size_t *aad_lens,
                                             size_t count,
                                             const char *expect,
                                             uint8_t *out,
                                             size_t out_capacity,
                                             size_t *out_offsets,
                                             size_t *out_len,
                                             keystead_error **err);

// Writes count messages anew, each under the newest active version of the key that it names; a message of that
// version is copied as it is, so that equal bytes tell which were current. Otherwise as
// keystead_client_decrypt_many(). The plaintexts do not leave the call. Give out 16 bytes more than the messages have
// for each of them, and it is large enough.
//
// Returns what keystead_client_decrypt() and keystead_client_key() return.
keystead_status keystead_client_reencrypt_many(const keystead_client *client,
                                               const uint8_t *const *messages,
                                               const size_t *message_lens,
                                               const uint8_t *const *aads,
                                               const size_t *aad_lens,
                                               size_t count,
                                               const char *expect,
                                               uint8_t *out,
                                               size_t out_capacity,
                                               size_t *out_offsets,
                                               size_t *out_len,
                                               keystead_error **err);

// Verifies files[0..file_count] as one log or one audit trail: rotated files in any order, also compressed ones (gzip).
// docs/AUDITORS.md tells what is proven. Needs no client and no configuration. Blocks on files only.
//
// auditor_keys[0..auditor_key_count] are the paths of the auditor's private keys, with which the seals are verified; they
// may be none. anchors is NULL, or the path of a file with lines that `keystead log anchor` printed, which prove the end.
// of is "log" or "audit", what the files are to be of, so that one is not taken for the other, or NULL for either. With
// collected other than 0 the files are what a collector kept, with chains of many processes side by side, the oldest file
// first.
//
// On success *out_report is one JSON object, to be freed with keystead_bytes_free(), else NULL. It says "intact" (true or
// false), and what `keystead log verify --json` says. That something was altered is no failure of this call.
//
// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL, no files, another word for of, or a file that holds no key or no anchor;
// SYSTEM if a file cannot be read; INTERNAL.
keystead_status keystead_log_verify(const char *const *files,
                                    size_t file_count,
                                    const char *const *auditor_keys,
                                    size_t auditor_key_count,
                                    const char *anchors,
                                    const char *of,
                                    int32_t collected,
                                    keystead_bytes **out_report,
                                    keystead_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KEYSTEAD_H */
