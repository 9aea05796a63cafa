package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
)

// The framework has no payloads for MAC and RNG Retrieve.
func init() {
	kmip.RegisterOperationPayload[macRequest, macResponse](kmip.OperationMAC)
	kmip.RegisterOperationPayload[rngRetrieveRequest, rngRetrieveResponse](kmip.OperationRNGRetrieve)
}

type macRequest struct {
	UniqueIdentifier        string `ttlv:",omitempty"`
	CryptographicParameters *kmip.CryptographicParameters
	Data                    []byte `ttlv:",omitempty"`
}

type macResponse struct {
	UniqueIdentifier string
	MACData          []byte
}

type rngRetrieveRequest struct{ DataLength int32 }

type rngRetrieveResponse struct{ Data []byte }

func (*macRequest) Operation() kmip.Operation          { return kmip.OperationMAC }
func (*macResponse) Operation() kmip.Operation         { return kmip.OperationMAC }
func (*rngRetrieveRequest) Operation() kmip.Operation  { return kmip.OperationRNGRetrieve }
func (*rngRetrieveResponse) Operation() kmip.Operation { return kmip.OperationRNGRetrieve }

func failed(format string, arguments ...any) error {
	return kmipserver.Errorf(kmip.ResultReasonCryptographicFailure, format, arguments...)
}

// parametersOf answers the parameters of a request, else those of the key.
func parametersOf(o *object, given *kmip.CryptographicParameters) (kmip.CryptographicParameters, error) {
	if given != nil {
		return *given, nil
	}
	if own, ok := get[kmip.CryptographicParameters](o, kmip.AttributeNameCryptographicParameters); ok {
		return own, nil
	}
	return kmip.CryptographicParameters{}, invalid("neither the request nor the key has Cryptographic Parameters")
}

// key answers a key that may be used like this now.
func (s *service) key(ctx context.Context, id string, usage kmip.CryptographicUsageMask, states ...kmip.State) (object, error) {
	o, err := s.find(ctx, id)
	if err == nil {
		err = o.isOnly(states...)
	}
	if err == nil {
		err = o.mayBeUsed(usage)
	}
	return o, err
}

// aesKey answers an AES key that may be used like this now.
func (s *service) aesKey(ctx context.Context, id string, usage kmip.CryptographicUsageMask, states ...kmip.State) (object, error) {
	o, err := s.key(ctx, id, usage, states...)
	if err == nil && o.algorithm() != kmip.CryptographicAlgorithmAES {
		err = illegal("the key is none for AES")
	}
	return o, err
}

func (s *service) encrypt(ctx context.Context, request *payloads.EncryptRequestPayload) (*payloads.EncryptResponsePayload, error) {
	if request.InitIndicator != nil || request.FinalIndicator != nil || request.CorrelationValue != nil {
		return nil, kmipserver.ErrFeatureNotSupported
	}
	o, err := s.aesKey(ctx, request.UniqueIdentifier, kmip.CryptographicUsageEncrypt, kmip.StateActive)
	if err != nil {
		return nil, err
	}
	parameters, err := parametersOf(&o, request.CryptographicParameters)
	if err != nil {
		return nil, err
	}
	response := &payloads.EncryptResponsePayload{UniqueIdentifier: o.id}
	iv, ours, err := ivFor(&parameters, request.IVCounterNonce)
	if err != nil {
		return nil, err
	}
	if ours {
		response.IVCounterNonce = iv
	}
	switch parameters.BlockCipherMode {
	case kmip.BlockCipherModeGCM:
		aead, err := newGCM(o.key, iv, &parameters)
		if err != nil {
			return nil, err
		}
		sealed := aead.Seal(nil, iv, request.Data, request.AuthenticatedEncryptionAdditionalData)
		response.Data = sealed
		if kmipserver.GetProtocolVersion(ctx).Minor() >= 4 {
			end := len(sealed) - aead.Overhead()
			response.Data, response.AuthenticatedEncryptionTag = sealed[:end], sealed[end:]
		}
	case kmip.BlockCipherModeCBC:
		response.Data, err = encryptCBC(o.key, iv, request.Data, parameters.PaddingMethod)
	default:
		err = invalid("this block cipher mode is not supported")
	}
	return response, err
}

// Processing what was protected is allowed as long as the key exists (KMIP 1.4 §3.22).
func (s *service) decrypt(ctx context.Context, request *payloads.DecryptRequestPayload) (*payloads.DecryptResponsePayload, error) {
	if request.InitIndicator != nil || request.FinalIndicator != nil || request.CorrelationValue != nil {
		return nil, kmipserver.ErrFeatureNotSupported
	}
	o, err := s.aesKey(
		ctx, request.UniqueIdentifier, kmip.CryptographicUsageDecrypt, kmip.StateActive, kmip.StateDeactivated, kmip.StateCompromised)
	if err != nil {
		return nil, err
	}
	parameters, err := parametersOf(&o, request.CryptographicParameters)
	if err != nil {
		return nil, err
	}
	response := &payloads.DecryptResponsePayload{UniqueIdentifier: o.id}
	switch parameters.BlockCipherMode {
	case kmip.BlockCipherModeGCM:
		aead, err := newGCM(o.key, request.IVCounterNonce, &parameters)
		if err != nil {
			return nil, err
		}
		sealed := request.Data
		if kmipserver.GetProtocolVersion(ctx).Minor() >= 4 {
			if len(request.AuthenticatedEncryptionTag) != aead.Overhead() {
				return nil, invalid("the authenticated encryption tag does not have %d bytes", aead.Overhead())
			}
			sealed = append(bytes.Clone(sealed), request.AuthenticatedEncryptionTag...)
		}
		response.Data, err = aead.Open(nil, request.IVCounterNonce, sealed, request.AuthenticatedEncryptionAdditionalData)
		if err != nil {
			return nil, failed("the data is not authentic")
		}
	case kmip.BlockCipherModeCBC:
		response.Data, err = decryptCBC(o.key, request.IVCounterNonce, request.Data, parameters.PaddingMethod)
	default:
		err = invalid("this block cipher mode is not supported")
	}
	return response, err
}

// ivFor answers the client's IV, or one of ours where it asks for that.
func ivFor(parameters *kmip.CryptographicParameters, given []byte) (iv []byte, ours bool, err error) {
	switch {
	case given != nil:
		return given, false, nil
	case parameters.RandomIV == nil || !*parameters.RandomIV:
		return nil, false, kmipserver.Errorf(kmip.ResultReasonMissingData, "neither an IV is given nor a random one asked for")
	case parameters.BlockCipherMode == kmip.BlockCipherModeGCM:
		return random(12), true, nil
	default:
		return random(aes.BlockSize), true, nil
	}
}

func newGCM(key, iv []byte, parameters *kmip.CryptographicParameters) (cipher.AEAD, error) {
	size := int(parameters.TagLength)
	if size == 0 {
		size = 16
	}
	if size < 12 || size > 16 || len(iv) != 12 {
		return nil, invalid("GCM takes an IV of 12 bytes and a tag of 12 to 16")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithTagSize(block, size)
}

func encryptCBC(key, iv, data []byte, padding kmip.PaddingMethod) ([]byte, error) {
	data = bytes.Clone(data)
	switch padding {
	case kmip.PaddingMethodPKCS5:
		missing := aes.BlockSize - len(data)%aes.BlockSize
		data = append(data, bytes.Repeat([]byte{byte(missing)}, missing)...)
	case kmip.PaddingMethodNone, 0:
	default:
		return nil, invalid("this padding is not supported")
	}
	block, err := blocksOf(key, iv, data)
	if err == nil {
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	}
	return data, err
}

func decryptCBC(key, iv, data []byte, padding kmip.PaddingMethod) ([]byte, error) {
	data = bytes.Clone(data)
	block, err := blocksOf(key, iv, data)
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	switch padding {
	case kmip.PaddingMethodPKCS5:
		if len(data) == 0 {
			return nil, failed("the padding is wrong")
		}
		count := int(data[len(data)-1])
		if count == 0 || count > aes.BlockSize || !bytes.HasSuffix(data, bytes.Repeat([]byte{byte(count)}, count)) {
			return nil, failed("the padding is wrong")
		}
		return data[:len(data)-count], nil
	case kmip.PaddingMethodNone, 0:
		return data, nil
	}
	return nil, invalid("this padding is not supported")
}

func blocksOf(key, iv, data []byte) (cipher.Block, error) {
	if len(iv) != aes.BlockSize || len(data)%aes.BlockSize != 0 {
		return nil, failed("CBC takes an IV of 16 bytes and whole blocks")
	}
	return aes.NewCipher(key)
}

func (s *service) mac(ctx context.Context, request *macRequest) (*macResponse, error) {
	o, err := s.key(ctx, request.UniqueIdentifier, kmip.CryptographicUsageMACGenerate, kmip.StateActive)
	if err != nil {
		return nil, err
	}
	// A key for another algorithm serves if the request says what to do with it.
	algorithm := o.algorithm()
	if given := request.CryptographicParameters; given != nil && given.CryptographicAlgorithm != 0 {
		algorithm = given.CryptographicAlgorithm
	}
	if algorithm != kmip.CryptographicAlgorithmHMACSHA256 {
		return nil, invalid("only HMAC-SHA256 is supported")
	}
	hash := hmac.New(sha256.New, o.key)
	hash.Write(request.Data)
	return &macResponse{UniqueIdentifier: o.id, MACData: hash.Sum(nil)}, nil
}

func (s *service) rngRetrieve(_ context.Context, request *rngRetrieveRequest) (*rngRetrieveResponse, error) {
	if request.DataLength < 1 || request.DataLength > 1<<16 {
		return nil, invalid("no more than 64 KiB of random data at once")
	}
	return &rngRetrieveResponse{Data: random(int(request.DataLength))}, nil
}

// wrapIV is the initial value of RFC 3394 §2.2.3.1.
var wrapIV = []byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

// wrapKey is the AES key wrap of RFC 3394 §2.2.1.
func wrapKey(kek, data []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(data) < 16 || len(data)%8 != 0 {
		return nil, failed("AES key wrap takes two or more blocks of 8 bytes")
	}
	wrapped := append(bytes.Clone(wrapIV), data...)
	buffer := make([]byte, aes.BlockSize)
	for round := range 6 {
		for i := 8; i < len(wrapped); i += 8 {
			copy(buffer, wrapped[:8])
			copy(buffer[8:], wrapped[i:i+8])
			block.Encrypt(buffer, buffer)
			copy(wrapped[i:], buffer[8:])
			copy(wrapped[:8], step(buffer[:8], round*(len(data)/8)+i/8))
		}
	}
	return wrapped, nil
}

// unwrapKey is the inverse (RFC 3394 §2.2.2).
func unwrapKey(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(wrapped) < 24 || len(wrapped)%8 != 0 {
		return nil, failed("this is no wrapped key")
	}
	data := bytes.Clone(wrapped)
	buffer := make([]byte, aes.BlockSize)
	for round := 5; round >= 0; round-- {
		for i := len(data) - 8; i >= 8; i -= 8 {
			copy(buffer, step(data[:8], round*(len(data)/8-1)+i/8))
			copy(buffer[8:], data[i:i+8])
			block.Decrypt(buffer, buffer)
			copy(data[:8], buffer[:8])
			copy(data[i:], buffer[8:])
		}
	}
	if subtle.ConstantTimeCompare(data[:8], wrapIV) != 1 {
		return nil, failed("this key was wrapped under another one, or changed since")
	}
	return data[8:], nil
}

// step mixes the number of a step into the register A of RFC 3394.
func step(register []byte, number int) []byte {
	mixed := bytes.Clone(register)
	for i := 7; number > 0; i, number = i-1, number>>8 {
		mixed[i] ^= byte(number)
	}
	return mixed
}
