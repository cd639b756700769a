//go:build linux

package aufs

import (
	"context"

	"github.com/seed-642172e2/aufs/internal/core/maintenance"
)

// ProblemKind says what kind of problem a Problem is. It is a string that users can read, such as "damaged parents".
type ProblemKind = maintenance.ProblemKind

// The kinds of problems that Check finds.
const (
	// DamagedParents means that a layers/<id> is wrong, so that the layer cannot be mounted. If the file was cut short,
	// and the files of the layer's parent or children contain the rest, Repair restores it.
	DamagedParents = maintenance.DamagedParents
	// SuspectBase means that a layer without parents has a file of aufs's own. Aufs makes this file in each layer that it
	// writes to, and Put removes it from layers without parents. So the layer's layers/<id> may have been emptied.
	SuspectBase = maintenance.SuspectBase
	// MissingDirectory means that a layer has no diff/<id>, and its files are lost, or no mnt/<id>, which Repair makes.
	MissingDirectory = maintenance.MissingDirectory
	// Orphan means that something belongs to a layer that is not in the store. Repair removes it.
	Orphan = maintenance.Orphan
	// Leftover means that an interrupted operation left a scratch directory or a temporary file. Repair removes it.
	Leftover = maintenance.Leftover
	// StaleMount means that something is mounted where a layer that is not in the store would be. Repair unmounts it.
	StaleMount = maintenance.StaleMount
	// WrongForm means that a layer in aufs form has a whiteout or an opaque directory in overlay form. Aufs ignores
	// such a file or attribute, and a container may have made it on purpose.
	WrongForm = maintenance.WrongForm
	// Foreign means that the store has something in it that no driver puts there.
	Foreign = maintenance.Foreign
)

// Problem is something that is wrong with a store. Kind says what is wrong. Layer is the id of the affected layer, or
// "" if there is none. Path is the affected file, and Detail says more. The method String puts all of that in one line.
type Problem = maintenance.Problem

// Check looks for problems in the store at home, a driver's home directory. It changes nothing and mounts nothing. The
// store may be in use: Check skips whatever somebody is working on at that moment.
//
// An error means that Check could not look at a part of the store, or that ctx ended. Even then, Check returns the
// problems that it has found.
func Check(ctx context.Context, home string) ([]Problem, error) {
	problems, err := maintenance.Check(ctx, home)
	return problems, ofLibrary(err)
}

// Repair removes and restores whatever it can without losing data, and returns the problems that remain. The comment of
// each ProblemKind says what Repair does about it. If ctx ends, Repair stops after the layer that it is working on.
func Repair(ctx context.Context, home string) ([]Problem, error) {
	problems, err := maintenance.Repair(ctx, home)
	return problems, ofLibrary(err)
}

// Convert converts each layer of the store at home, a driver's home directory, to aufs form. After that the storage
// library's own aufs driver can use the store, and so can the host's aufs without any driver. Convert mounts no layer,
// and can be called again.
//
// Convert leaves a layer as it is while the layer, or one on top of it, is mounted anywhere. The error then matches
// unix.EBUSY, and errors.As finds a *BusyError. Convert also leaves a layer as it is if aufs form cannot represent it;
// the error then names the file. In both cases, Convert still converts the other layers. If ctx ends, Convert stops
// after the layer that it is working on.
func Convert(ctx context.Context, home string) error {
	return ofLibrary(maintenance.Convert(ctx, home))
}
