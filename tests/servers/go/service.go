package main

import (
	"context"
	"slices"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
	"github.com/ovh/kmip-go/ttlv"
)

// service carries out the operations of one server.
type service struct{ objects *replica }

// operation is one that the server knows.
type operation struct {
	code    kmip.Operation
	since   int // The minor protocol version that brought it.
	handler kmipserver.OperationHandler
}

func (s *service) operations() []operation {
	return []operation{
		{kmip.OperationCreate, 0, kmipserver.HandleFunc(s.create)},
		{kmip.OperationRegister, 0, kmipserver.HandleFunc(s.register)},
		{kmip.OperationReKey, 0, kmipserver.HandleFunc(s.rekey)},
		{kmip.OperationCheck, 0, kmipserver.HandleFunc(s.check)},
		{kmip.OperationLocate, 0, kmipserver.HandleFunc(s.locate)},
		{kmip.OperationGet, 0, kmipserver.HandleFunc(s.get)},
		{kmip.OperationGetAttributes, 0, kmipserver.HandleFunc(s.getAttributes)},
		{kmip.OperationGetAttributeList, 0, kmipserver.HandleFunc(s.getAttributeList)},
		{kmip.OperationAddAttribute, 0, kmipserver.HandleFunc(s.addAttribute)},
		{kmip.OperationModifyAttribute, 0, kmipserver.HandleFunc(s.modifyAttribute)},
		{kmip.OperationDeleteAttribute, 0, kmipserver.HandleFunc(s.deleteAttribute)},
		{kmip.OperationActivate, 0, kmipserver.HandleFunc(s.activate)},
		{kmip.OperationRevoke, 0, kmipserver.HandleFunc(s.revoke)},
		{kmip.OperationDestroy, 0, kmipserver.HandleFunc(s.destroy)},
		{kmip.OperationQuery, 0, kmipserver.HandleFunc(s.query)},
		{kmip.OperationEncrypt, 2, kmipserver.HandleFunc(s.encrypt)},
		{kmip.OperationDecrypt, 2, kmipserver.HandleFunc(s.decrypt)},
		{kmip.OperationMAC, 2, kmipserver.HandleFunc(s.mac)},
		{kmip.OperationRNGRetrieve, 2, kmipserver.HandleFunc(s.rngRetrieve)},
	}
}

// newExecutor routes requests to the service, and refuses what their protocol version does not have.
func newExecutor(versions []kmip.ProtocolVersion, s *service) *kmipserver.BatchExecutor {
	executor := kmipserver.NewBatchExecutor()
	executor.SetSupportedProtocolVersions(slices.Clone(versions)...)
	since := map[kmip.Operation]int{kmip.OperationDiscoverVersions: 1}
	for _, operation := range s.operations() {
		executor.Route(operation.code, operation.handler)
		since[operation.code] = operation.since
	}
	executor.BatchItemUse(func(
		next kmipserver.BatchItemNext, ctx context.Context, item *kmip.RequestBatchItem,
	) (*kmip.ResponseBatchItem, error) {
		if kmipserver.GetProtocolVersion(ctx).Minor() < since[item.Operation] {
			refused := &kmip.ResponseBatchItem{Operation: item.Operation, UniqueBatchItemID: item.UniqueBatchItemID}
			return refused, kmipserver.ErrOperationNotSupported
		}
		response, err := next(ctx, item)
		if err != nil {
			response.ResponsePayload = nil
		}
		return response, err
	})
	return executor
}

// owner is the common name of the client's certificate.
func owner(ctx context.Context) string {
	return kmipserver.PeerCertificates(ctx)[0].Subject.CommonName
}

// target is the object that a request names, or the one its batch made before.
func target(ctx context.Context, id string) (string, error) {
	id, err := kmipserver.GetIdOrPlaceholder(ctx, id)
	if err != nil {
		return "", notFound("")
	}
	return id, nil
}

func (s *service) find(ctx context.Context, id string) (object, error) {
	id, err := target(ctx, id)
	if err != nil {
		return object{}, err
	}
	return s.objects.find(owner(ctx), id)
}

// change applies a function to the object that a request names, and answers its identifier.
func (s *service) change(ctx context.Context, id string, apply func(*object) error) (string, error) {
	id, err := target(ctx, id)
	if err != nil {
		return "", err
	}
	return id, s.objects.change(owner(ctx), id, apply)
}

func (s *service) locate(ctx context.Context, request *payloads.LocateRequestPayload) (*payloads.LocateResponsePayload, error) {
	version := kmipserver.GetProtocolVersion(ctx)
	for _, attribute := range request.Attribute {
		if _, err := ruleOf(attribute.AttributeName, version); err != nil {
			return nil, err
		}
	}
	var found []string
	for _, o := range s.objects.all(owner(ctx)) {
		if o.matches(request.Attribute) {
			found = append(found, o.id)
		}
	}
	located := int32(len(found))
	found = found[min(int(max(request.OffsetItems, 0)), len(found)):]
	if request.MaximumItems > 0 {
		found = found[:min(int(request.MaximumItems), len(found))]
	}
	if len(found) == 1 {
		kmipserver.SetIdPlaceholder(ctx, found[0])
	} else {
		kmipserver.ClearIdPlaceholder(ctx)
	}
	return &payloads.LocateResponsePayload{LocatedItems: &located, UniqueIdentifier: found}, nil
}

func (s *service) query(ctx context.Context, request *payloads.QueryRequestPayload) (*payloads.QueryResponsePayload, error) {
	version := kmipserver.GetProtocolVersion(ctx)
	response := &payloads.QueryResponsePayload{}
	for _, function := range request.QueryFunction {
		switch function {
		case kmip.QueryFunctionOperations:
			for _, operation := range s.operations() {
				if operation.since <= version.Minor() {
					response.Operations = append(response.Operations, operation.code)
				}
			}
			if version.Minor() >= 1 {
				response.Operations = append(response.Operations, kmip.OperationDiscoverVersions)
			}
		case kmip.QueryFunctionObjects:
			response.ObjectType = []kmip.ObjectType{kmip.ObjectTypeSymmetricKey}
		case kmip.QueryFunctionServerInformation:
			response.VendorIdentification = "Keystead test server"
			response.ServerInformation = &ttlv.Value{Tag: kmip.TagServerInformation, Value: ttlv.Struct{}}
		}
	}
	return response, nil
}
