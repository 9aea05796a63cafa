package main

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ovh/kmip-go"
)

// store holds what all servers replicate. A server sees its own changes at once and those of the others after the lag.
// Of two values of an attribute the last one wins, and of two states the later one in a key's life.
type store struct {
	mutex   sync.Mutex
	lag     time.Duration
	unique  bool // Whether a Name that another object has is refused.
	records map[string]*record
	order   []string // Identifiers, oldest object first.
}

// record is an object as it was made, and what happened to it since.
type record struct {
	made    object
	origin  int
	reached time.Time // When the other servers see it.
	changes []change
}

// change holds every instance of each attribute that one request changed.
type change struct {
	names      []kmip.AttributeName
	attributes []kmip.Attribute
	keyGone    bool
	origin     int
	reached    time.Time
}

func newStore(lag time.Duration) *store {
	return &store{lag: lag, records: map[string]*record{}}
}

func (s *store) setUnique(unique bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.unique = unique
}

func (s *store) setLag(lag time.Duration) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lag = lag
}

// replica is the store as one server sees it. Objects are private to their owner.
type replica struct {
	store  *store
	origin int
}

func (r *replica) insert(o object) error {
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	if err := r.checkNames(&o); err != nil {
		return err
	}
	r.store.order = append(r.store.order, o.id)
	r.store.records[o.id] = &record{made: o, origin: r.origin, reached: time.Now().Add(r.store.lag)}
	return nil
}

// find answers a copy.
func (r *replica) find(owner, id string) (object, error) {
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	return r.see(owner, id)
}

// all answers copies of the owner's objects, newest first.
func (r *replica) all(owner string) []object {
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	return r.seeAll(owner)
}

// change applies a function to an object, unless it fails.
func (r *replica) change(owner, id string, apply func(*object) error) error {
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	before, err := r.see(owner, id)
	if err != nil {
		return err
	}
	after := before
	after.attributes = slices.Clone(before.attributes)
	if err := apply(&after); err != nil {
		return err
	}
	if err := r.checkNames(&after); err != nil {
		return err
	}
	after.set(kmip.AttributeNameLastChangeDate, now())
	change := difference(&before, &after)
	change.origin, change.reached = r.origin, time.Now().Add(r.store.lag)
	record := r.store.records[id]
	record.changes = append(record.changes, change)
	record.fold()
	return nil
}

func (r *replica) sees(origin int, reached time.Time) bool {
	return origin == r.origin || !time.Now().Before(reached)
}

func (r *replica) see(owner, id string) (object, error) {
	record := r.store.records[id]
	if record == nil || record.made.owner != owner || !r.sees(record.origin, record.reached) {
		return object{}, notFound(id)
	}
	o := record.made
	o.attributes = slices.Clone(o.attributes)
	for _, change := range record.changes {
		if r.sees(change.origin, change.reached) {
			change.apply(&o)
		}
	}
	o.followDates()
	return o, nil
}

func (r *replica) seeAll(owner string) []object {
	var seen []object
	for _, id := range slices.Backward(r.store.order) {
		if o, err := r.see(owner, id); err == nil {
			seen = append(seen, o)
		}
	}
	return seen
}

func (r *replica) checkNames(o *object) error {
	if !r.store.unique {
		return nil
	}
	for _, other := range r.seeAll(o.owner) {
		for _, name := range other.names() {
			if other.id != o.id && slices.Contains(o.names(), name) {
				return illegal("another object is named %q", name)
			}
		}
	}
	return nil
}

// fold makes the changes that reached every server a part of the object.
func (r *record) fold() {
	now := time.Now()
	for len(r.changes) > 0 && !now.Before(r.reached) && !now.Before(r.changes[0].reached) {
		r.changes[0].apply(&r.made)
		r.changes = r.changes[1:]
	}
}

func difference(before, after *object) change {
	change := change{keyGone: after.key == nil}
	for _, attribute := range slices.Concat(before.attributes, after.attributes) {
		name := attribute.AttributeName
		if slices.Contains(change.names, name) || reflect.DeepEqual(before.all(name), after.all(name)) {
			continue
		}
		change.names = append(change.names, name)
		change.attributes = append(change.attributes, after.all(name)...)
	}
	return change
}

func (c *change) apply(o *object) {
	state := o.state()
	o.attributes = slices.DeleteFunc(o.attributes, func(attribute kmip.Attribute) bool {
		return slices.Contains(c.names, attribute.AttributeName)
	})
	o.attributes = append(o.attributes, c.attributes...)
	o.set(kmip.AttributeNameState, max(state, o.state()))
	if c.keyGone {
		o.key = nil
	}
}
