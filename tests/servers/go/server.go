package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/ttlv"
)

// identity is where a server's certificate and key lie.
type identity struct{ certificate, key string }

// server is one key server: what outlives a restart, and what runs now.
type server struct {
	address  string
	clients  *x509.CertPool
	versions []kmip.ProtocolVersion
	objects  *replica

	mutex   sync.Mutex
	counts  map[string]int
	running *listener
	serving *kmipserver.Server
}

func newServer(address string, clients *x509.CertPool, versions []kmip.ProtocolVersion, objects *replica) *server {
	return &server{address: address, clients: clients, versions: versions, objects: objects, counts: map[string]int{}}
}

func readAuthority(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

func (s *server) start(identity identity) error {
	if s.running != nil {
		return errors.New("it already runs")
	}
	certificate, err := tls.LoadX509KeyPair(identity.certificate, identity.key)
	if err != nil {
		return err
	}
	inner, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.running = &listener{Listener: inner, connections: map[net.Conn]struct{}{}, rules: &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    s.clients,
		MinVersion:   tls.VersionTLS13,
	}}
	executor := newExecutor(s.versions, &service{objects: s.objects})
	executor.BatchItemUse(s.countItem)
	s.serving = kmipserver.NewServer(s.running, executor)
	go s.serving.Serve() //nolint:errcheck // It ends with the listener.
	return nil
}

func (s *server) countItem(
	next kmipserver.BatchItemNext, ctx context.Context, item *kmip.RequestBatchItem,
) (*kmip.ResponseBatchItem, error) {
	s.mutex.Lock()
	s.counts[ttlv.EnumStr(item.Operation)]++
	s.mutex.Unlock()
	return next(ctx, item)
}

func (s *server) count(operation string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.counts[operation]
}

// kill leaves nothing of the server that could still change an object.
func (s *server) kill() error {
	if s.running == nil {
		return errors.New("it does not run")
	}
	s.running.kill()
	s.serving.Shutdown() //nolint:errcheck // The listener is closed already.
	s.running, s.serving = nil, nil
	return nil
}

func (s *server) stop() error {
	if s.running == nil {
		return errors.New("it does not run")
	}
	if !s.running.stopped.Swap(true) {
		s.running.gate.Lock()
	}
	return nil
}

func (s *server) resume() error {
	if s.running == nil {
		return errors.New("it does not run")
	}
	s.running.resume()
	return nil
}

// listener accepts TLS connections that can be held up and cut off together, as a process's can by signals.
type listener struct {
	net.Listener
	rules *tls.Config

	gate    sync.RWMutex // Locked while the server is stopped.
	stopped atomic.Bool
	dead    atomic.Bool

	mutex       sync.Mutex
	connections map[net.Conn]struct{}
}

// pass waits while the server is stopped; it fails once the server is dead.
func (l *listener) pass() error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.dead.Load() {
		return net.ErrClosed
	}
	return nil
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mutex.Lock()
	l.connections[inner] = struct{}{}
	l.mutex.Unlock()
	if err := l.pass(); err != nil {
		inner.Close()
		return nil, err
	}
	return tls.Server(&connection{Conn: inner, listener: l}, l.rules), nil
}

func (l *listener) resume() {
	if l.stopped.Swap(false) {
		l.gate.Unlock()
	}
}

func (l *listener) kill() {
	l.dead.Store(true)
	l.Close()
	l.mutex.Lock()
	for connection := range l.connections {
		connection.Close()
	}
	l.mutex.Unlock()
	l.resume()
}

type connection struct {
	net.Conn
	listener *listener
}

func (c *connection) Read(buffer []byte) (int, error) {
	n, err := c.Conn.Read(buffer)
	if gone := c.listener.pass(); gone != nil {
		return 0, gone
	}
	return n, err
}

func (c *connection) Write(buffer []byte) (int, error) {
	if err := c.listener.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(buffer)
}

func (c *connection) Close() error {
	c.listener.mutex.Lock()
	delete(c.listener.connections, c.Conn)
	c.listener.mutex.Unlock()
	return c.Conn.Close()
}
