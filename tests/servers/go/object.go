package main

import (
	"reflect"
	"slices"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/ttlv"
)

// object is a managed object: its key, and everything else as attributes.
type object struct {
	id         string
	owner      string
	kind       kmip.ObjectType
	key        []byte
	attributes []kmip.Attribute
}

// rule is what the specification says of an attribute (KMIP 1.4 §3), as far as clients meet it.
type rule struct {
	since  int  // The minor protocol version that brought it.
	many   bool // An object may have several.
	locked bool // Clients neither set nor change it.
}

var rules = map[kmip.AttributeName]rule{
	kmip.AttributeNameUniqueIdentifier:               {locked: true},
	kmip.AttributeNameName:                           {many: true},
	kmip.AttributeNameObjectType:                     {locked: true},
	kmip.AttributeNameCryptographicAlgorithm:         {locked: true},
	kmip.AttributeNameCryptographicLength:            {locked: true},
	kmip.AttributeNameCryptographicParameters:        {many: true},
	kmip.AttributeNameCryptographicUsageMask:         {},
	kmip.AttributeNameLeaseTime:                      {locked: true},
	kmip.AttributeNameState:                          {locked: true},
	kmip.AttributeNameInitialDate:                    {locked: true},
	kmip.AttributeNameActivationDate:                 {},
	kmip.AttributeNameProcessStartDate:               {},
	kmip.AttributeNameProtectStopDate:                {},
	kmip.AttributeNameDeactivationDate:               {},
	kmip.AttributeNameDestroyDate:                    {locked: true},
	kmip.AttributeNameCompromiseOccurrenceDate:       {locked: true},
	kmip.AttributeNameCompromiseDate:                 {locked: true},
	kmip.AttributeNameRevocationReason:               {locked: true},
	kmip.AttributeNameLastChangeDate:                 {locked: true},
	kmip.AttributeNameObjectGroup:                    {many: true},
	kmip.AttributeNameLink:                           {many: true},
	kmip.AttributeNameApplicationSpecificInformation: {many: true},
	kmip.AttributeNameContactInformation:             {},
	kmip.AttributeNameOperationPolicyName:            {},
	kmip.AttributeNameAlternativeName:                {since: 2, many: true},
	kmip.AttributeNameOriginalCreationDate:           {since: 2, locked: true},
	kmip.AttributeNameComment:                        {since: 4},
	kmip.AttributeNameDescription:                    {since: 4},
	kmip.AttributeNameSensitive:                      {since: 4},
	kmip.AttributeNameAlwaysSensitive:                {since: 4, locked: true},
	kmip.AttributeNameExtractable:                    {since: 4},
	kmip.AttributeNameNeverExtractable:               {since: 4, locked: true},
}

// ruleOf answers the rule of an attribute that a client of this version may name.
func ruleOf(name kmip.AttributeName, version kmip.ProtocolVersion) (rule, error) {
	if name.IsCustom() {
		return rule{many: true}, nil
	}
	rule, known := rules[name]
	if !known || rule.since > version.Minor() {
		return rule, invalid("there is no attribute %q in KMIP %s", name, version)
	}
	return rule, nil
}

// now has the resolution of a KMIP date.
func now() time.Time { return time.Now().Truncate(time.Second) }

// get answers the first value of an attribute, or nothing.
func get[T any](o *object, name kmip.AttributeName) (value T, ok bool) {
	for _, attribute := range o.attributes {
		if attribute.AttributeName == name {
			value, ok = attribute.AttributeValue.(T)
			return value, ok
		}
	}
	return value, false
}

// set gives an attribute its only value.
func (o *object) set(name kmip.AttributeName, value any) {
	o.attributes = slices.DeleteFunc(o.attributes, named(name))
	o.attributes = append(o.attributes, kmip.Attribute{AttributeName: name, AttributeValue: value})
}

// add appends one of several values, and answers it with its index.
func (o *object) add(name kmip.AttributeName, value any) kmip.Attribute {
	index := int32(0)
	for _, attribute := range o.attributes {
		if attribute.AttributeName == name {
			index = *attribute.AttributeIndex + 1
		}
	}
	attribute := kmip.Attribute{AttributeName: name, AttributeIndex: &index, AttributeValue: value}
	o.attributes = append(o.attributes, attribute)
	return attribute
}

// position answers where an instance of an attribute is; an absent index means the first.
func (o *object) position(name kmip.AttributeName, index *int32) (int, error) {
	wanted := int32(0)
	if index != nil {
		wanted = *index
	}
	for i, attribute := range o.attributes {
		has := int32(0)
		if attribute.AttributeIndex != nil {
			has = *attribute.AttributeIndex
		}
		if attribute.AttributeName == name && has == wanted {
			return i, nil
		}
	}
	return 0, kmipserver.Errorf(kmip.ResultReasonItemNotFound, "the object has no attribute %q with index %d", name, wanted)
}

// all answers every instance of an attribute.
func (o *object) all(name kmip.AttributeName) []kmip.Attribute {
	var instances []kmip.Attribute
	for _, attribute := range o.attributes {
		if attribute.AttributeName == name {
			instances = append(instances, attribute)
		}
	}
	return instances
}

func named(name kmip.AttributeName) func(kmip.Attribute) bool {
	return func(attribute kmip.Attribute) bool { return attribute.AttributeName == name }
}

func (o *object) state() kmip.State {
	state, _ := get[kmip.State](o, kmip.AttributeNameState)
	return state
}

func (o *object) algorithm() kmip.CryptographicAlgorithm {
	algorithm, _ := get[kmip.CryptographicAlgorithm](o, kmip.AttributeNameCryptographicAlgorithm)
	return algorithm
}

func (o *object) names() []string {
	var names []string
	for _, attribute := range o.attributes {
		if name, ok := attribute.AttributeValue.(kmip.Name); ok {
			names = append(names, name.NameValue)
		}
	}
	return names
}

// isOnly says whether the state is one of these.
func (o *object) isOnly(states ...kmip.State) error {
	if !slices.Contains(states, o.state()) {
		return denied("the object is in state %s", ttlv.EnumStr(o.state()))
	}
	return nil
}

// mayBeUsed says whether the usage mask allows it.
func (o *object) mayBeUsed(usage kmip.CryptographicUsageMask) error {
	mask, _ := get[kmip.CryptographicUsageMask](o, kmip.AttributeNameCryptographicUsageMask)
	if mask&usage == 0 {
		return denied("its Cryptographic Usage Mask does not allow it")
	}
	return nil
}

// followDates makes the transitions 4 and 6 that need nobody's request (KMIP 1.4 §3.22).
func (o *object) followDates() {
	activation, ok := get[time.Time](o, kmip.AttributeNameActivationDate)
	if o.state() == kmip.StatePreActive && ok && !activation.After(time.Now()) {
		o.set(kmip.AttributeNameState, kmip.StateActive)
	}
	deactivation, ok := get[time.Time](o, kmip.AttributeNameDeactivationDate)
	if o.state() == kmip.StateActive && ok && !deactivation.After(time.Now()) {
		o.set(kmip.AttributeNameState, kmip.StateDeactivated)
	}
}

// matches says whether the object has all these attributes (KMIP 1.4 §4.9).
func (o *object) matches(wanted []kmip.Attribute) bool {
	dates := map[kmip.AttributeName][]time.Time{}
	for _, attribute := range wanted {
		if date, ok := attribute.AttributeValue.(time.Time); ok {
			dates[attribute.AttributeName] = append(dates[attribute.AttributeName], date)
		} else if !slices.ContainsFunc(o.attributes, matching(attribute)) {
			return false
		}
	}
	for name, limits := range dates {
		// One date is to be met, two are a range.
		date, ok := get[time.Time](o, name)
		if !ok || date.Before(slices.MinFunc(limits, time.Time.Compare)) || date.After(slices.MaxFunc(limits, time.Time.Compare)) {
			return false
		}
	}
	return true
}

func matching(wanted kmip.Attribute) func(kmip.Attribute) bool {
	return func(attribute kmip.Attribute) bool {
		if attribute.AttributeName != wanted.AttributeName {
			return false
		}
		if mask, ok := wanted.AttributeValue.(kmip.CryptographicUsageMask); ok {
			return attribute.AttributeValue.(kmip.CryptographicUsageMask)&mask == mask
		}
		return reflect.DeepEqual(attribute.AttributeValue, wanted.AttributeValue)
	}
}

func notFound(id string) error {
	return kmipserver.Errorf(kmip.ResultReasonItemNotFound, "there is no object %q", id)
}

func invalid(format string, arguments ...any) error {
	return kmipserver.Errorf(kmip.ResultReasonInvalidField, format, arguments...)
}

func denied(format string, arguments ...any) error {
	return kmipserver.Errorf(kmip.ResultReasonPermissionDenied, format, arguments...)
}

func illegal(format string, arguments ...any) error {
	return kmipserver.Errorf(kmip.ResultReasonIllegalOperation, format, arguments...)
}
