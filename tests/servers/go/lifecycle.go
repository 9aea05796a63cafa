package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
)

func newObject(ctx context.Context, kind kmip.ObjectType, template kmip.TemplateAttribute) (*object, error) {
	if kind != kmip.ObjectTypeSymmetricKey {
		return nil, invalid("only symmetric keys are managed here")
	}
	o := &object{id: hex.EncodeToString(random(16)), owner: owner(ctx), kind: kind}
	if err := takeAttributes(o, template, kmipserver.GetProtocolVersion(ctx)); err != nil {
		return nil, err
	}
	return o, nil
}

// complete checks a new object and gives it what is the server's to say. Unless its Activation Date has come it is
// Pre-Active.
func (o *object) complete() error {
	algorithm := o.algorithm()
	bits, _ := get[int32](o, kmip.AttributeNameCryptographicLength)
	_, masked := get[kmip.CryptographicUsageMask](o, kmip.AttributeNameCryptographicUsageMask)
	switch {
	case algorithm == 0 || bits == 0 || !masked:
		return kmipserver.Errorf(kmip.ResultReasonMissingData, "a key needs an algorithm, a length and a usage mask")
	case algorithm == kmip.CryptographicAlgorithmAES && !slices.Contains([]int32{128, 192, 256}, bits):
		return invalid("AES has no keys of %d bits", bits)
	case algorithm != kmip.CryptographicAlgorithmAES && algorithm != kmip.CryptographicAlgorithmHMACSHA256:
		return invalid("only keys for AES and HMAC-SHA256 are managed here")
	case bits < 8 || bits%8 != 0:
		return invalid("no key has %d bits", bits)
	}
	if o.key == nil {
		o.key = random(int(bits / 8))
	} else if len(o.key) != int(bits/8) {
		return invalid("the key does not have %d bits", bits)
	}
	sensitive, _ := get[bool](o, kmip.AttributeNameSensitive)
	extractable, given := get[bool](o, kmip.AttributeNameExtractable)
	o.set(kmip.AttributeNameUniqueIdentifier, o.id)
	o.set(kmip.AttributeNameObjectType, o.kind)
	o.set(kmip.AttributeNameState, kmip.StatePreActive)
	o.set(kmip.AttributeNameInitialDate, now())
	o.set(kmip.AttributeNameLastChangeDate, now())
	o.set(kmip.AttributeNameSensitive, sensitive)
	o.set(kmip.AttributeNameAlwaysSensitive, sensitive)
	o.set(kmip.AttributeNameExtractable, extractable || !given)
	o.set(kmip.AttributeNameNeverExtractable, !extractable && given)
	o.followDates()
	return nil
}

func (s *service) create(ctx context.Context, request *payloads.CreateRequestPayload) (*payloads.CreateResponsePayload, error) {
	o, err := newObject(ctx, request.ObjectType, request.TemplateAttribute)
	if err == nil {
		err = o.complete()
	}
	if err == nil {
		err = s.objects.insert(*o)
	}
	if err != nil {
		return nil, err
	}
	kmipserver.SetIdPlaceholder(ctx, o.id)
	return &payloads.CreateResponsePayload{ObjectType: o.kind, UniqueIdentifier: o.id}, nil
}

func (s *service) register(ctx context.Context, request *payloads.RegisterRequestPayload) (*payloads.RegisterResponsePayload, error) {
	o, err := newObject(ctx, request.ObjectType, request.TemplateAttribute)
	if err != nil {
		return nil, err
	}
	key := request.Object.(*kmip.SymmetricKey)
	if o.key, err = s.unwrap(ctx, &key.KeyBlock); err != nil {
		return nil, err
	}
	// They may stand in the key block only.
	if !slices.ContainsFunc(o.attributes, named(kmip.AttributeNameCryptographicAlgorithm)) {
		o.set(kmip.AttributeNameCryptographicAlgorithm, key.KeyBlock.CryptographicAlgorithm)
	}
	if !slices.ContainsFunc(o.attributes, named(kmip.AttributeNameCryptographicLength)) {
		o.set(kmip.AttributeNameCryptographicLength, int32(8*len(o.key)))
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	// It was known elsewhere before.
	for _, name := range []kmip.AttributeName{kmip.AttributeNameAlwaysSensitive, kmip.AttributeNameNeverExtractable} {
		o.set(name, false)
	}
	if err := s.objects.insert(*o); err != nil {
		return nil, err
	}
	kmipserver.SetIdPlaceholder(ctx, o.id)
	return &payloads.RegisterResponsePayload{UniqueIdentifier: o.id}, nil
}

func (s *service) activate(ctx context.Context, request *payloads.ActivateRequestPayload) (*payloads.ActivateResponsePayload, error) {
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		if err := o.isOnly(kmip.StatePreActive); err != nil {
			return err
		}
		o.set(kmip.AttributeNameState, kmip.StateActive)
		o.set(kmip.AttributeNameActivationDate, now())
		return nil
	})
	return &payloads.ActivateResponsePayload{UniqueIdentifier: id}, err
}

func (s *service) revoke(ctx context.Context, request *payloads.RevokeRequestPayload) (*payloads.RevokeResponsePayload, error) {
	reason := request.RevocationReason
	compromised := reason.RevocationReasonCode == kmip.RevocationReasonCodeKeyCompromise ||
		reason.RevocationReasonCode == kmip.RevocationReasonCodeCACompromise
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		destroyed := o.state() == kmip.StateDestroyed || o.state() == kmip.StateDestroyedCompromised
		switch {
		case compromised && destroyed:
			o.set(kmip.AttributeNameState, kmip.StateDestroyedCompromised)
		case compromised:
			o.set(kmip.AttributeNameState, kmip.StateCompromised)
		case o.state() == kmip.StateActive:
			o.set(kmip.AttributeNameState, kmip.StateDeactivated)
			o.set(kmip.AttributeNameDeactivationDate, now())
		default:
			return illegal("only an active object can be deactivated")
		}
		o.set(kmip.AttributeNameRevocationReason, reason)
		if compromised {
			o.set(kmip.AttributeNameCompromiseDate, now())
		}
		if compromised && request.CompromiseOccurrenceDate != nil {
			o.set(kmip.AttributeNameCompromiseOccurrenceDate, *request.CompromiseOccurrenceDate)
		}
		return nil
	})
	return &payloads.RevokeResponsePayload{UniqueIdentifier: id}, err
}

// destroy wipes the key and keeps the rest, as the specification allows: Locate and Get Attributes still show it.
func (s *service) destroy(ctx context.Context, request *payloads.DestroyRequestPayload) (*payloads.DestroyResponsePayload, error) {
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		state := kmip.StateDestroyed
		switch o.state() {
		case kmip.StatePreActive, kmip.StateDeactivated:
		case kmip.StateCompromised:
			state = kmip.StateDestroyedCompromised
		default:
			return o.isOnly(kmip.StatePreActive, kmip.StateDeactivated, kmip.StateCompromised)
		}
		o.key = nil
		o.set(kmip.AttributeNameState, state)
		o.set(kmip.AttributeNameDestroyDate, now())
		return nil
	})
	return &payloads.DestroyResponsePayload{UniqueIdentifier: id}, err
}

// rekey makes a key that takes over the old one's attributes and Names (KMIP 1.4 §4.4).
func (s *service) rekey(ctx context.Context, request *payloads.RekeyRequestPayload) (*payloads.RekeyResponsePayload, error) {
	old, err := s.find(ctx, request.UniqueIdentifier)
	if err != nil {
		return nil, err
	}
	if _, replaced := replacement(&old); replaced {
		return nil, denied("the key was replaced before")
	}
	successor := &object{id: hex.EncodeToString(random(16)), owner: old.owner, kind: old.kind}
	var template kmip.TemplateAttribute
	if request.TemplateAttribute != nil {
		template = *request.TemplateAttribute
	}
	if err := takeAttributes(successor, template, kmipserver.GetProtocolVersion(ctx)); err != nil {
		return nil, err
	}
	inherit(successor, &old, request.Offset)
	if err := successor.complete(); err != nil {
		return nil, err
	}
	successor.add(kmip.AttributeNameLink, kmip.Link{LinkType: kmip.LinkTypeReplacedObjectLink, LinkedObjectIdentifier: old.id})
	if _, err := s.change(ctx, old.id, func(o *object) error {
		o.attributes = slices.DeleteFunc(o.attributes, named(kmip.AttributeNameName))
		o.add(kmip.AttributeNameLink, kmip.Link{LinkType: kmip.LinkTypeReplacementObjectLink, LinkedObjectIdentifier: successor.id})
		return nil
	}); err != nil {
		return nil, err
	}
	if err := s.objects.insert(*successor); err != nil {
		return nil, err
	}
	kmipserver.SetIdPlaceholder(ctx, successor.id)
	return &payloads.RekeyResponsePayload{UniqueIdentifier: successor.id}, nil
}

func replacement(o *object) (string, bool) {
	for _, attribute := range o.attributes {
		if link, ok := attribute.AttributeValue.(kmip.Link); ok && link.LinkType == kmip.LinkTypeReplacementObjectLink {
			return link.LinkedObjectIdentifier, true
		}
	}
	return "", false
}

// inherit copies what a new key has of the old one, unless the request says otherwise. With an offset its dates are
// counted from now.
func inherit(successor, old *object, offset *time.Duration) {
	given := slices.Clone(successor.attributes)
	initial, _ := get[time.Time](old, kmip.AttributeNameInitialDate)
	activation, _ := get[time.Time](old, kmip.AttributeNameActivationDate)
	for _, attribute := range old.attributes {
		name := attribute.AttributeName
		rule := rules[name]
		essential := name == kmip.AttributeNameCryptographicAlgorithm || name == kmip.AttributeNameCryptographicLength
		if rule.locked && !essential || name == kmip.AttributeNameLink || slices.ContainsFunc(given, named(name)) {
			continue
		}
		value := attribute.AttributeValue
		if date, ok := value.(time.Time); ok && offset != nil && !activation.IsZero() {
			value = now().Add(*offset).Add(date.Sub(activation))
		} else if ok && offset != nil {
			value = now().Add(date.Sub(initial))
		}
		if rule.many || name.IsCustom() {
			successor.add(name, value)
		} else {
			successor.set(name, value)
		}
	}
	if offset != nil {
		successor.set(kmip.AttributeNameActivationDate, now().Add(*offset))
	}
}

func random(size int) []byte {
	bytes := make([]byte, size)
	rand.Read(bytes) //nolint:errcheck // It never fails since Go 1.24.
	return bytes
}
