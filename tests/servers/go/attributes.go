package main

import (
	"context"
	"slices"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
)

// visible answers the attributes that a client of this version may see: these ones, or all.
func visible(o *object, version kmip.ProtocolVersion, wanted []kmip.AttributeName) []kmip.Attribute {
	var seen []kmip.Attribute
	for _, attribute := range o.attributes {
		if _, err := ruleOf(attribute.AttributeName, version); err != nil {
			continue
		}
		if len(wanted) == 0 || slices.Contains(wanted, attribute.AttributeName) {
			seen = append(seen, attribute)
		}
	}
	return seen
}

func (s *service) getAttributes(
	ctx context.Context, request *payloads.GetAttributesRequestPayload,
) (*payloads.GetAttributesResponsePayload, error) {
	o, err := s.find(ctx, request.UniqueIdentifier)
	if err != nil {
		return nil, err
	}
	seen := visible(&o, kmipserver.GetProtocolVersion(ctx), request.AttributeName)
	return &payloads.GetAttributesResponsePayload{UniqueIdentifier: o.id, Attribute: seen}, nil
}

func (s *service) getAttributeList(
	ctx context.Context, request *payloads.GetAttributeListRequestPayload,
) (*payloads.GetAttributeListResponsePayload, error) {
	o, err := s.find(ctx, request.UniqueIdentifier)
	if err != nil {
		return nil, err
	}
	response := &payloads.GetAttributeListResponsePayload{UniqueIdentifier: o.id}
	for _, attribute := range visible(&o, kmipserver.GetProtocolVersion(ctx), nil) {
		if !slices.Contains(response.AttributeName, attribute.AttributeName) {
			response.AttributeName = append(response.AttributeName, attribute.AttributeName)
		}
	}
	return response, nil
}

// The framework has no payloads for Check.
func init() {
	kmip.RegisterOperationPayload[checkRequest, checkResponse](kmip.OperationCheck)
}

type checkRequest struct {
	UniqueIdentifier       string                      `ttlv:",omitempty"`
	CryptographicUsageMask kmip.CryptographicUsageMask `ttlv:",omitempty"`
}

type checkResponse struct {
	UniqueIdentifier       string                      `ttlv:",omitempty"`
	CryptographicUsageMask kmip.CryptographicUsageMask `ttlv:",omitempty"`
}

func (*checkRequest) Operation() kmip.Operation  { return kmip.OperationCheck }
func (*checkResponse) Operation() kmip.Operation { return kmip.OperationCheck }

// check answers the identifier of a key that may be used like this, else what it may not be used for (KMIP 1.4 §4.10).
func (s *service) check(ctx context.Context, request *checkRequest) (*checkResponse, error) {
	o, err := s.find(ctx, request.UniqueIdentifier)
	if err != nil {
		return nil, err
	}
	mask, _ := get[kmip.CryptographicUsageMask](&o, kmip.AttributeNameCryptographicUsageMask)
	if mask&request.CryptographicUsageMask != request.CryptographicUsageMask {
		kmipserver.ClearIdPlaceholder(ctx)
		return &checkResponse{CryptographicUsageMask: request.CryptographicUsageMask}, nil
	}
	return &checkResponse{UniqueIdentifier: o.id}, nil
}

// mayChange says whether a client may give the attribute this value, or none, now.
func mayChange(o *object, name kmip.AttributeName, version kmip.ProtocolVersion) (rule, error) {
	rule, err := ruleOf(name, version)
	if err != nil {
		return rule, err
	}
	if rule.locked {
		return rule, denied("clients cannot change %q", name)
	}
	switch name {
	case kmip.AttributeNameActivationDate, kmip.AttributeNameProcessStartDate:
		return rule, o.isOnly(kmip.StatePreActive)
	case kmip.AttributeNameDeactivationDate, kmip.AttributeNameProtectStopDate:
		return rule, o.isOnly(kmip.StatePreActive, kmip.StateActive)
	}
	return rule, nil
}

func (s *service) addAttribute(
	ctx context.Context, request *payloads.AddAttributeRequestPayload,
) (*payloads.AddAttributeResponsePayload, error) {
	added := request.Attribute
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		rule, err := mayChange(o, added.AttributeName, kmipserver.GetProtocolVersion(ctx))
		if err != nil {
			return err
		}
		if added.AttributeIndex != nil {
			return invalid("the server chooses the index of a new attribute")
		}
		if rule.many {
			added = o.add(added.AttributeName, added.AttributeValue)
			return nil
		}
		if slices.ContainsFunc(o.attributes, named(added.AttributeName)) {
			return illegal("the object has the attribute %q already", added.AttributeName)
		}
		o.set(added.AttributeName, added.AttributeValue)
		return nil
	})
	return &payloads.AddAttributeResponsePayload{UniqueIdentifier: id, Attribute: added}, err
}

func (s *service) modifyAttribute(
	ctx context.Context, request *payloads.ModifyAttributeRequestPayload,
) (*payloads.ModifyAttributeResponsePayload, error) {
	modified := request.Attribute
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		if _, err := mayChange(o, modified.AttributeName, kmipserver.GetProtocolVersion(ctx)); err != nil {
			return err
		}
		position, err := o.position(modified.AttributeName, modified.AttributeIndex)
		if err != nil {
			return err
		}
		o.attributes[position].AttributeValue = modified.AttributeValue
		modified = o.attributes[position]
		return nil
	})
	return &payloads.ModifyAttributeResponsePayload{UniqueIdentifier: id, Attribute: modified}, err
}

func (s *service) deleteAttribute(
	ctx context.Context, request *payloads.DeleteAttributeRequestPayload,
) (*payloads.DeleteAttributeResponsePayload, error) {
	var deleted kmip.Attribute
	id, err := s.change(ctx, request.UniqueIdentifier, func(o *object) error {
		if _, err := mayChange(o, request.AttributeName, kmipserver.GetProtocolVersion(ctx)); err != nil {
			return err
		}
		if request.AttributeName == kmip.AttributeNameCryptographicUsageMask {
			return denied("an object always has a Cryptographic Usage Mask")
		}
		position, err := o.position(request.AttributeName, request.AttributeIndex)
		if err != nil {
			return err
		}
		deleted = o.attributes[position]
		o.attributes = slices.Delete(o.attributes, position, position+1)
		return nil
	})
	return &payloads.DeleteAttributeResponsePayload{UniqueIdentifier: id, Attribute: deleted}, err
}

// takeAttributes gives a new object the attributes of a request.
func takeAttributes(o *object, template kmip.TemplateAttribute, version kmip.ProtocolVersion) error {
	if len(template.Name) > 0 {
		return kmipserver.Errorf(kmip.ResultReasonItemNotFound, "there are no templates")
	}
	// Locked afterwards, but the client's to say when the object is made.
	atFirst := []kmip.AttributeName{kmip.AttributeNameCryptographicAlgorithm, kmip.AttributeNameCryptographicLength}
	for _, attribute := range template.Attribute {
		rule, err := ruleOf(attribute.AttributeName, version)
		switch {
		case err != nil:
			return err
		case rule.locked && !slices.Contains(atFirst, attribute.AttributeName):
			return invalid("%q is not the client's to set", attribute.AttributeName)
		case rule.many:
			o.add(attribute.AttributeName, attribute.AttributeValue)
		case slices.ContainsFunc(o.attributes, named(attribute.AttributeName)):
			return invalid("%q is given twice", attribute.AttributeName)
		default:
			o.set(attribute.AttributeName, attribute.AttributeValue)
		}
	}
	if date, ok := get[time.Time](o, kmip.AttributeNameActivationDate); ok && date.Unix() == 0 {
		// Zero asks the server for its own time (KMIP 1.4 §3.24).
		o.set(kmip.AttributeNameActivationDate, now())
	}
	return nil
}
