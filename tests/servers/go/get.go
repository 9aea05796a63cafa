package main

import (
	"context"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
	"github.com/ovh/kmip-go/ttlv"
)

func (s *service) get(ctx context.Context, request *payloads.GetRequestPayload) (*payloads.GetResponsePayload, error) {
	o, err := s.find(ctx, request.UniqueIdentifier)
	if err != nil {
		return nil, err
	}
	if o.key == nil {
		return nil, notFound(o.id)
	}
	if request.KeyFormatType != 0 && request.KeyFormatType != kmip.KeyFormatTypeRaw {
		return nil, kmipserver.Errorf(kmip.ResultReasonKeyFormatTypeNotSupported, "keys are raw here")
	}
	if request.KeyCompressionType != 0 {
		return nil, kmipserver.Errorf(kmip.ResultReasonKeyCompressionTypeNotSupported, "keys are not compressed here")
	}
	if extractable, _ := get[bool](&o, kmip.AttributeNameExtractable); !extractable {
		return nil, kmipserver.Errorf(kmip.ResultReasonNotExtractable, "the key cannot be extracted")
	}
	if sensitive, _ := get[bool](&o, kmip.AttributeNameSensitive); sensitive && request.KeyWrappingSpecification == nil {
		return nil, kmipserver.Errorf(kmip.ResultReasonSensitive, "the key leaves the server only wrapped")
	}
	block := kmip.KeyBlock{
		KeyFormatType: kmip.KeyFormatTypeRaw,
		KeyValue:      &kmip.KeyValue{Plain: &kmip.PlainKeyValue{KeyMaterial: kmip.KeyMaterial{Bytes: &o.key}}},
	}
	block.CryptographicAlgorithm = o.algorithm()
	block.CryptographicLength, _ = get[int32](&o, kmip.AttributeNameCryptographicLength)
	if request.KeyWrappingSpecification != nil {
		if err := s.wrap(ctx, &block, &o, request.KeyWrappingSpecification); err != nil {
			return nil, err
		}
	}
	return &payloads.GetResponsePayload{
		ObjectType: o.kind, UniqueIdentifier: o.id, Object: &kmip.SymmetricKey{KeyBlock: block},
	}, nil
}

// wrappingKey answers the key that a key is to be wrapped or unwrapped with.
func (s *service) wrappingKey(
	ctx context.Context, method kmip.WrappingMethod, information *kmip.EncryptionKeyInformation, usage kmip.CryptographicUsageMask,
) (object, error) {
	if method != kmip.WrappingMethodEncrypt || information == nil {
		return object{}, kmipserver.Errorf(kmip.ResultReasonFeatureNotSupported, "keys are wrapped by encryption only")
	}
	o, err := s.aesKey(ctx, information.UniqueIdentifier, usage, kmip.StateActive)
	if err != nil {
		return o, err
	}
	parameters, err := parametersOf(&o, information.CryptographicParameters)
	if err == nil && parameters.BlockCipherMode != kmip.BlockCipherModeNISTKeyWrap {
		err = invalid("keys are wrapped with the block cipher mode NIST Key Wrap only")
	}
	return o, err
}

// wrap replaces the key in a block by its wrapped form (KMIP 1.4 §2.1.6).
func (s *service) wrap(ctx context.Context, block *kmip.KeyBlock, o *object, how *kmip.KeyWrappingSpecification) error {
	kek, err := s.wrappingKey(ctx, how.WrappingMethod, how.EncryptionKeyInformation, kmip.CryptographicUsageWrapKey)
	if err != nil {
		return err
	}
	plain := o.key
	if how.EncodingOption == kmip.EncodingOptionNoEncoding {
		if len(how.AttributeName) > 0 {
			return kmipserver.Errorf(kmip.ResultReasonEncodingOptionError, "attributes are wrapped in their TTLV encoding only")
		}
	} else {
		if len(how.AttributeName) > 0 {
			block.KeyValue.Plain.Attribute = visible(o, kmipserver.GetProtocolVersion(ctx), how.AttributeName)
		}
		encoder := ttlv.NewTTLVEncoder()
		encoder.TagAny(kmip.TagKeyValue, block.KeyValue.Plain)
		plain = encoder.Bytes()
	}
	wrapped, err := wrapKey(kek.key, plain)
	if err != nil {
		return err
	}
	block.KeyValue = &kmip.KeyValue{Wrapped: &wrapped}
	block.KeyWrappingData = &kmip.KeyWrappingData{
		WrappingMethod:           how.WrappingMethod,
		EncryptionKeyInformation: how.EncryptionKeyInformation,
		EncodingOption:           how.EncodingOption,
	}
	return nil
}

// unwrap answers the key in the block of a Register request.
func (s *service) unwrap(ctx context.Context, block *kmip.KeyBlock) ([]byte, error) {
	if block.KeyFormatType != kmip.KeyFormatTypeRaw {
		return nil, kmipserver.Errorf(kmip.ResultReasonKeyFormatTypeNotSupported, "keys are raw here")
	}
	if block.KeyCompressionType != 0 {
		return nil, kmipserver.Errorf(kmip.ResultReasonKeyCompressionTypeNotSupported, "keys are not compressed here")
	}
	if block.KeyValue == nil {
		return nil, kmipserver.ErrMissingData
	}
	how := block.KeyWrappingData
	if how == nil {
		key, err := block.GetBytes()
		if err != nil {
			return nil, invalid("the key value is not in the clear")
		}
		return key, nil
	}
	kek, err := s.wrappingKey(ctx, how.WrappingMethod, how.EncryptionKeyInformation, kmip.CryptographicUsageUnwrapKey)
	if err != nil {
		return nil, err
	}
	if block.KeyValue.Wrapped == nil {
		return nil, invalid("the value of a wrapped key is a byte string")
	}
	plain, err := unwrapKey(kek.key, *block.KeyValue.Wrapped)
	if err != nil || how.EncodingOption == kmip.EncodingOptionNoEncoding {
		return plain, err
	}
	var value struct{ KeyMaterial []byte }
	if err := ttlv.UnmarshalTTLV(plain, &value); err != nil {
		return nil, invalid("what was wrapped is no key value")
	}
	return value.KeyMaterial, nil
}
