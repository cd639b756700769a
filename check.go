//go:build linux

package aufs

import (
	"context"

	"github.com/seed-642172e2/aufs/internal/core/maintenance"
)

// ProblemKind says what a Problem is about.
type ProblemKind = maintenance.ProblemKind

// The kinds of problems that Check finds.
const (
	// DamagedParents: a layers/<id> cannot be right, so that the layer is not mounted. Repair restores one that is cut short,
	// if what the layer's parent or its children say completes it.
	DamagedParents = maintenance.DamagedParents
	// SuspectBase: a layer without parents has what only one with parents comes by. Its layers/<id> may have been emptied.
	SuspectBase = maintenance.SuspectBase
	// MissingDirectory: a layer has no diff/<id>, which is a loss, or no mnt/<id>, which Repair makes.
	MissingDirectory = maintenance.MissingDirectory
	// Orphan: something belongs to a layer that is not in the store. Repair removes it.
	Orphan = maintenance.Orphan
	// Leftover: an operation that was interrupted has left a scratch directory. Repair removes it.
	Leftover = maintenance.Leftover
	// StaleMount: something is mounted where a layer that is not in the store would be. Repair unmounts it.
	StaleMount = maintenance.StaleMount
	// WrongForm: a layer in aufs form has whiteouts, or marks, as overlayfs would write them. They mean nothing to aufs; they may
	// be a container's own.
	WrongForm = maintenance.WrongForm
	// Foreign: something is in the store that no driver puts there.
	Foreign = maintenance.Foreign
)

// Problem is something that is wrong with a store: its Kind; the id of the Layer that it is about, or ""; the Path of the file that it is
// about; and a Detail that says more.
type Problem = maintenance.Problem

// Check looks for problems in the store at home, a driver's home directory, and changes nothing. It mounts nothing; the
// store may be in use. What somebody is at work on while it looks is passed over.
//
// The error says that a part of the store could not be looked at, or is that of ctx; there may be problems all the same.
func Check(ctx context.Context, home string) ([]Problem, error) {
	problems, err := maintenance.Check(ctx, home)
	return problems, ofLibrary(err)
}

// Repair removes and restores what can be without a loss, and returns what problems are left then. Each kind of problem
// says what Repair does about it. If ctx ends it stops after the layer that it is at.
func Repair(ctx context.Context, home string) ([]Problem, error) {
	problems, err := maintenance.Repair(ctx, home)
	return problems, ofLibrary(err)
}

// Convert brings each layer of the store at home, a driver's home directory, into aufs form, so that the storage library's own aufs driver,
// and the host's aufs without any driver, can use it. It mounts no layer, and can be called again.
//
// A layer that is mounted anywhere, or has a child that is, stays as it is: the error matches unix.EBUSY, and errors.As finds a *BusyError.
// So does a layer that has no aufs form; the error names the file. The others are converted all the same. If ctx ends, Convert stops after
// the layer that it is at.
func Convert(ctx context.Context, home string) error {
	return ofLibrary(maintenance.Convert(ctx, home))
}
