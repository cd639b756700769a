//go:build linux

package shadow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Digest returns a name for what the plan makes of the layer in the form to. Two plans that make the same have the same digest. The digest
// of a plan that makes nothing is "". In a copy of the store, layers have other digests, so that shadows are made again: not every program
// copies the attributes of directories in shadows.
func (p *Plan) Digest(layer whiteout.LayerDir, to whiteout.Form) (string, error) {
	if len(p.Above) == 0 && len(p.Below) == 0 {
		return "", nil
	}
	var root unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, layer.Root, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &root); err != nil && !fsutil.IsForbidden(err) {
		return "", &fs.PathError{Op: "statx", Path: layer.Root, Err: err}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %d %d.%d\n", to, root.Ino, root.Btime.Sec, root.Btime.Nsec)
	for _, tree := range []Tree{p.Above, p.Below} {
		for _, rel := range tree.dirs() {
			fmt.Fprintf(sum, "%q %v", rel, tree[rel].Opaque)
			for _, name := range slices.Sorted(maps.Keys(tree[rel].Whiteouts)) {
				fmt.Fprintf(sum, " %q", name)
			}
			if err := digestMetadata(sum, tree[rel].source(layer), rel); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(sum)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// digestMetadata adds to sum what whiteout.CopyMetadataBeneath copies of the directory rel of the layer, except the time of access.
func digestMetadata(sum hash.Hash, layer whiteout.LayerDir, rel string) error {
	dir, err := fsutil.OpenBelow(layer.Root, rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, " %o %d %d %d.%d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	var attrs []string
	err = whiteout.EachXattr(dir, layer.Form, func(name string, value []byte) error {
		attrs = append(attrs, fmt.Sprintf("%q=%q", name, value))
		return nil
	})
	slices.Sort(attrs)
	fmt.Fprintln(sum, strings.Join(attrs, " "))
	return err
}
