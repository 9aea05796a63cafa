// The client of github.com/ovh/kmip-go in the comparison that benches/clients/compare.py makes:
//
//	kmip-go ADDRESS CA CERTIFICATE KEY IDENTIFIER
//
// It answers a line "get N" or "connect N" of its standard input with a line of JSON: the median time of so many calls.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, "kmip-go:", err)
		os.Exit(1)
	}
}

// readRules reads the files once, so that connecting does not.
func readRules(authority, certificate, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, nil
}

func run(address, authority, certificate, key, identifier string) error {
	ctx := context.Background()
	rules, err := readRules(authority, certificate, key)
	if err != nil {
		return err
	}
	dial := func() (*kmipclient.Client, error) {
		return kmipclient.Dial(address, kmipclient.WithTlsConfig(rules), kmipclient.EnforceVersion(kmip.V1_4))
	}
	warm, err := dial()
	if err != nil {
		return err
	}
	defer warm.Close()
	get := func(client *kmipclient.Client) error {
		answer, err := client.Get(identifier).ExecContext(ctx)
		if err != nil {
			return err
		}
		material, err := answer.Object.(*kmip.SymmetricKey).KeyMaterial()
		if err == nil && len(material) != 32 {
			err = fmt.Errorf("a key of %d bytes", len(material))
		}
		return err
	}
	work := map[string]func() error{
		"get": func() error { return get(warm) },
		"connect": func() error {
			client, err := dial()
			if err != nil {
				return err
			}
			if err := get(client); err != nil {
				return err
			}
			return client.Close()
		},
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var what string
		var number int
		if _, err := fmt.Fscan(strings.NewReader(lines.Text()), &what, &number); err != nil {
			return err
		}
		times := make([]time.Duration, number)
		for i := range times {
			start := time.Now()
			if err := work[what](); err != nil {
				return err
			}
			times[i] = time.Since(start)
		}
		slices.Sort(times)
		fmt.Printf("{\"p50_us\": %.2f}\n", float64(times[number/2].Nanoseconds())/1e3)
	}
	return nil
}
