//go:build linux

package store

import (
	"fmt"
	"strings"
)

// errorPrefix begins the text of each error of the driver.
const errorPrefix = "aufs: "

// An opError says which operation failed, and wraps the reason.
type opError struct {
	op  string
	err error
}

// OpError says which operation failed, and wraps the reason. The text of the reason appears without the name of the driver, which the text of
// OpError begins with.
func OpError(op string, err error) error { return &opError{op, err} }

// Error implements error.
func (e *opError) Error() string {
	reason := strings.ReplaceAll(e.err.Error(), "\n"+errorPrefix, "\n")
	return errorPrefix + e.op + ": " + strings.TrimPrefix(reason, errorPrefix)
}

// Unwrap returns the reason.
func (e *opError) Unwrap() error { return e.err }

// A layerError is an OpError about a layer.
type layerError struct {
	opError
	id string
}

// LayerError says which operation on which layer failed, and wraps the reason. An operation can consist of others on the same layer. LayerError
// leaves out the name of the inner operation if the outer one has the same name, or if there is no such layer.
func LayerError(op, id string, err error) error {
	if inner, ok := err.(*layerError); ok && inner.id == id { //nolint:errorlint // an error further inside has text around it
		if inner.err == ErrLayerUnknown || inner.op == layerOp(op, id) { //nolint:errorlint // a wrapped one says more
			err = inner.err
		}
	}
	return &layerError{opError{layerOp(op, id), err}, id}
}

// layerOp names an operation on a layer. It quotes an id that no layer can have, because such an id may be empty or have line feeds.
func layerOp(op, id string) string {
	if CheckID(id) != nil {
		return fmt.Sprintf("%s layer %q", op, id)
	}
	return op + " layer " + id
}

// UnknownLayer returns the error of an operation on a layer that is not in the store. It matches ErrLayerUnknown.
func UnknownLayer(op, id string) error {
	return LayerError(op, id, ErrLayerUnknown)
}

// damaged says what is wrong with a record of a layer. It matches ErrDamaged, and what the arguments for %w match.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}
