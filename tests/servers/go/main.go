// A KMIP 1.0 to 1.4 server for tests, independent of the library that it tests: the codec, the framing and the
// batches are those of github.com/ovh/kmip-go, and the operations are written from the specification.
//
// One process holds any number of servers, which replicate one in-memory store with a settable lag:
//
//	kmip-server --listen primary=127.0.0.1:5696 --listen secondary=127.0.0.1:5697 \
//	    --certificate server.pem --key server.key --ca ca.pem --versions 1.0,1.2 --lag 2s
//
// It speaks TLS 1.3 and requires a client certificate, whose common name owns the objects. Once all servers listen it
// prints a line of JSON. Then each line of standard input is a command, answered by a line of JSON; the end of standard
// input ends the process.
//
//	kill NAME                           closes the listener and all its connections
//	stop NAME                           connections open but nothing answers
//	continue NAME
//	start NAME CERTIFICATE KEY [CA]     after kill, on the same port; clients have to be of that CA from then on
//	count NAME OPERATION                how many such operations it has received, since the process began
//	lag SECONDS                         for changes made from now on
//	unique-names yes|no                 whether a Name that another object has is refused; no at first
//	versions NAME 1.0,1.1               what the server speaks once it is started again
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ovh/kmip-go"
)

// listens holds the values of a repeated --listen.
type listens []string

func (l *listens) String() string     { return strings.Join(*l, " ") }
func (l *listens) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kmip-server:", err)
		os.Exit(1)
	}
}

func run() error {
	var names listens
	var identity identity
	flag.Var(&names, "listen", "NAME=ADDRESS of a server; once for each")
	flag.StringVar(&identity.certificate, "certificate", "", "PEM file of the servers' certificate")
	flag.StringVar(&identity.key, "key", "", "PEM file of its key")
	authority := flag.String("ca", "", "PEM file of the CA that issues client certificates")
	offered := flag.String("versions", "1.0,1.1,1.2,1.3,1.4", "the protocol versions to speak")
	lag := flag.Duration("lag", 0, "how long a change takes to reach the other servers")
	flag.Parse()

	versions, err := parseVersions(*offered)
	if err != nil {
		return err
	}
	clients, err := readAuthority(*authority)
	if err != nil {
		return err
	}
	store := newStore(*lag)
	servers := map[string]*server{}
	for origin, listen := range names {
		name, address, ok := strings.Cut(listen, "=")
		if !ok || servers[name] != nil {
			return fmt.Errorf("--listen %s: expected a new NAME=ADDRESS", listen)
		}
		servers[name] = newServer(address, clients, versions, &replica{store: store, origin: origin})
		if err := servers[name].start(identity); err != nil {
			return fmt.Errorf("server %s: %w", name, err)
		}
	}
	answer(map[string]any{"ok": true})
	control(servers, store)
	return nil
}

// control carries out commands until standard input ends.
func control(servers map[string]*server, store *store) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		reply, err := command(servers, store, strings.Fields(lines.Text()))
		if err != nil {
			reply = map[string]any{"ok": false, "error": err.Error()}
		} else {
			reply["ok"] = true
		}
		answer(reply)
	}
}

func command(servers map[string]*server, store *store, words []string) (map[string]any, error) {
	if len(words) < 2 {
		return nil, errors.New("a command has at least two words")
	}
	reply := map[string]any{}
	switch words[0] {
	case "lag":
		seconds, err := strconv.ParseFloat(words[1], 64)
		if err != nil || seconds < 0 {
			return nil, fmt.Errorf("%q is no number of seconds", words[1])
		}
		store.setLag(time.Duration(seconds * float64(time.Second)))
		return reply, nil
	case "unique-names":
		store.setUnique(words[1] == "yes")
		return reply, nil
	}
	server := servers[words[1]]
	if server == nil {
		return nil, fmt.Errorf("no server %q", words[1])
	}
	switch verb, arguments := words[0], words[2:]; {
	case verb == "kill" && len(arguments) == 0:
		return reply, server.kill()
	case verb == "stop" && len(arguments) == 0:
		return reply, server.stop()
	case verb == "continue" && len(arguments) == 0:
		return reply, server.resume()
	case verb == "start" && (len(arguments) == 2 || len(arguments) == 3):
		if len(arguments) == 3 {
			clients, err := readAuthority(arguments[2])
			if err != nil {
				return reply, err
			}
			server.clients = clients
		}
		return reply, server.start(identity{certificate: arguments[0], key: arguments[1]})
	case verb == "count" && len(arguments) == 1:
		reply["count"] = server.count(arguments[0])
		return reply, nil
	case verb == "versions" && len(arguments) == 1:
		versions, err := parseVersions(arguments[0])
		server.versions = versions
		return reply, err
	}
	return nil, fmt.Errorf("no such command: %q", strings.Join(words, " "))
}

func answer(reply map[string]any) {
	line, err := json.Marshal(reply)
	if err != nil {
		panic(err) // Only strings, numbers and booleans are ever in it.
	}
	fmt.Println(string(line))
}

func parseVersions(text string) ([]kmip.ProtocolVersion, error) {
	spoken := []kmip.ProtocolVersion{kmip.V1_0, kmip.V1_1, kmip.V1_2, kmip.V1_3, kmip.V1_4}
	var versions []kmip.ProtocolVersion
next:
	for word := range strings.SplitSeq(text, ",") {
		for _, version := range spoken {
			if version.String() == word {
				versions = append(versions, version)
				continue next
			}
		}
		return nil, fmt.Errorf("no KMIP version %q", word)
	}
	return versions, nil
}
