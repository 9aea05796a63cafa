package main

import (
	"testing"
	"time"

	"github.com/ovh/kmip-go"
)

func put(t *testing.T, r *replica, id string) {
	t.Helper()
	o := object{id: id, owner: "us", key: []byte{1}}
	o.set(kmip.AttributeNameState, kmip.StatePreActive)
	if err := r.insert(o); err != nil {
		t.Fatal(err)
	}
}

func stateOn(t *testing.T, r *replica, id string) kmip.State {
	t.Helper()
	o, err := r.find("us", id)
	if err != nil {
		t.Fatal(err)
	}
	return o.state()
}

func setState(t *testing.T, r *replica, id string, state kmip.State) {
	t.Helper()
	err := r.change("us", id, func(o *object) error { o.set(kmip.AttributeNameState, state); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestAChangeIsSeenWhereItWasMadeAndElsewhereLater(t *testing.T) {
	shared := newStore(0)
	here, there := &replica{shared, 0}, &replica{shared, 1}
	put(t, here, "old")
	shared.setLag(time.Hour)
	put(t, here, "new")
	setState(t, here, "old", kmip.StateActive)
	if stateOn(t, here, "old") != kmip.StateActive || stateOn(t, there, "old") != kmip.StatePreActive {
		t.Fatal("the other server sees a change before the lag, or its own does not")
	}
	if _, err := there.find("us", "new"); err == nil || len(there.all("us")) != 1 {
		t.Fatal("the other server sees an object before the lag")
	}
}

func TestOfTwoStatesTheLaterInLifeWins(t *testing.T) {
	shared := newStore(0)
	here, there := &replica{shared, 0}, &replica{shared, 1}
	put(t, here, "key")
	shared.setLag(20 * time.Millisecond)
	setState(t, here, "key", kmip.StateDestroyed)
	setState(t, there, "key", kmip.StateActive)
	for deadline := time.Now().Add(5 * time.Second); stateOn(t, there, "key") != kmip.StateDestroyed; {
		if time.Now().After(deadline) {
			t.Fatal("a destroyed key came back")
		}
	}
}

func TestAnObjectIsItsOwnersAlone(t *testing.T) {
	r := &replica{newStore(0), 0}
	put(t, r, "key")
	if _, err := r.find("them", "key"); err == nil || len(r.all("them")) != 0 {
		t.Fatal("somebody else sees it")
	}
}
