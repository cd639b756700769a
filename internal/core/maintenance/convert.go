//go:build linux

package maintenance

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/migration"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// Convert converts each layer of the store at home, a driver's home directory, to aufs form. After that the storage library's own aufs
// driver can use the layers, and so can the host's aufs without any driver. Convert mounts no layer, and can be called again.
//
// Convert leaves a layer as it is while the layer, or one on top of it, is mounted anywhere. The error then matches unix.EBUSY, and
// errors.As finds a *BusyError. Convert also leaves a layer as it is if aufs form cannot represent it; the error then names the file. In
// both cases, Convert still converts the other layers. If ctx ends, Convert stops after the layer that it is working on.
func Convert(ctx context.Context, home string) error {
	c, err := newCheck(home)
	if err == nil {
		err = c.withoutOthers(func() ([]*store.Scratch, error) { return migration.Migrate(c.home, "", c.remover) })
	}
	if err != nil {
		return store.OpError("converting the store "+home, err)
	}
	entries, err := os.ReadDir(c.home.Overlay(store.FormDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return store.OpError("converting the store "+home, err)
	}
	var errs []error
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, store.OpError("converting the store "+home, err))...)
		}
		errs = append(errs, c.forms.LayerToAufs(entry.Name()))
	}
	return errors.Join(errs...)
}
