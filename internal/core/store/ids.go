//go:build linux

package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
)

// CheckID refuses ids that would name anything but an entry of layers/, diff/ and mnt/.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("aufs: the layer id is empty")
	case id == "." || id == ".." || slices.Contains(NeverLayers, id):
		return fmt.Errorf("aufs: %q is not a layer id", id)
	case strings.ContainsAny(id, "/\x00\n"):
		return fmt.Errorf("aufs: layer id %q: a '/', a NUL or a line feed is not allowed in it", id)
	case strings.HasSuffix(id, "\r"):
		// Readers of layers/<id> take the carriage return for a part of the line's end.
		return fmt.Errorf("aufs: layer id %q ends in a carriage return", id)
	}
	return nil
}

// NeverLayers are the names in a store's directories that no layer can have. One is the driver's own directory. The other is the directory
// where fsck(8) puts what it finds, in case one of the store's directories is the root of a disk.
var NeverLayers = []string{BesideName, "lost+found"}

// removingSuffix ends the names that the in-tree driver gives to the directories that it is about to delete. It sweeps every name with this suffix.
const removingSuffix = "-removing"

// CheckNewID is CheckID for a new layer. It also refuses ids that aufs cannot mount as a branch, and ids that another driver on the same
// store would sweep. An existing layer with such an id stays readable.
func CheckNewID(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if strings.ContainsAny(id, aufsfs.BranchDelimiters) {
		return fmt.Errorf("aufs: layer id %q: aufs cannot parse ',', ':' or '=' in the path of a branch", id)
	}
	if strings.HasSuffix(id, removingSuffix) {
		return fmt.Errorf("aufs: layer id %q: names that end in %q are swept by the in-tree driver", id, removingSuffix)
	}
	return nil
}

// LayerError says which operation on which layer failed, and wraps the reason.
func LayerError(op, id string, err error) error {
	return fmt.Errorf("aufs: %s layer %s: %w", op, id, err)
}

// UnknownLayer returns the error of an operation on a layer that is not in the store. It matches ErrLayerUnknown.
func UnknownLayer(op, id string) error {
	return LayerError(op, id, ErrLayerUnknown)
}
