//go:build linux

package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
)

// CheckID refuses ids that would name anything but an entry of layers/, diff/ and mnt/. The error does not say which id, or what it was for.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("a layer id cannot be empty")
	case id == "." || id == ".." || slices.Contains(NeverLayers, id):
		return errors.New("this name is reserved, and cannot be a layer id")
	case strings.ContainsAny(id, "/\x00\n"):
		return errors.New("a layer id cannot have a '/', a NUL or a line feed")
	case strings.HasSuffix(id, "\r"):
		// Readers of layers/<id> take the carriage return for a part of the line's end.
		return errors.New("a layer id cannot end with a carriage return")
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
		return errors.New("a layer id cannot have a ',', a ':' or a '=', which aufs cannot parse in the path of a branch")
	}
	if strings.HasSuffix(id, removingSuffix) {
		return fmt.Errorf("a layer id cannot end with %q, because the in-tree driver would delete the layer", removingSuffix)
	}
	return nil
}
