//go:build linux

package shadow

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// A symbolic link keeps what was found out about a layer that nobody has mounted writable. There is one link for each form that a backend
// reads:
//
//	overlay/known/<form>/<id>   VERSION FLAGS DIGEST STAMP
//
// Those of layers in additional image stores are in other directories: see store.Stores.Known. Like shadows, the links are a cache. A layer
// that was mounted writable has none, since somebody may have changed it deep inside. If such a layer is an ancestor, each mount has to look
// through it, unless overlayfs mounts it and it is in the form that overlayfs reads.

// entryVersion begins each link. It goes up with each version of the driver that mounts the same layers in another way.
const entryVersion = "1"

// The flags of a link.
const (
	flagOpaque  = "o" // no layer below shows through
	flagUnread  = "u" // the marks of the layer's own directory are not to count
	flagStacked = "s" // the stamp covers the layer and all layers below it
	flagAbove   = "a" // there is a shadow above the layer
	flagBelow   = "b" // there is a shadow below the layer
	flagJoined  = "j" // the shadow below has all that the shadow above the parent has; the stamp covers both layers
	flagNone    = "-" // stands for no flags, or for no digest
)

// A Look reads the cache entries of the layers of a stack. It reads from open directories, so that the kernel looks up their paths only once.
type Look struct {
	*Cache
	layers  []store.Layer
	stamps  []string
	stacked []string             // for each layer, the stamp of it and all layers below; computed when it is needed
	opened  map[store.Home]*from // the homes that the layers are in
	read    []cacheEntry         // the links, each read at most once, so that all answers agree
}

// from has what a Look needs of the layers of one home.
type from struct {
	diff   int      // descriptor of the directory of the layers
	links  int      // descriptor of the directory of the links, or -1 if there is none
	places []string // the directories below which shadows can be
	boot   string   // a stamp of this boot of the kernel, or "" for home
}

// A cacheEntry is the content of a link. Without a link, all its strings are "".
type cacheEntry struct {
	version, flags, digest, stamp string

	wasRead bool
}

func (k cacheEntry) has(flag string) bool { return strings.Contains(k.flags, flag) }

// LookAt takes the stamps of layers, which are a stack, and opens the directories of their cache entries. The caller has to close the Look.
func (s *Cache) LookAt(layers []store.Layer) (*Look, error) {
	l := &Look{Cache: s, layers: layers, stamps: make([]string, len(layers)), read: make([]cacheEntry, len(layers)), opened: map[store.Home]*from{}}
	for n, layer := range layers {
		f, err := l.open(layer)
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstatat(f.diff, layer.ID, &st, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			l.Close()
			// Without this layer, the stack would show another tree, and nobody would be told.
			return nil, store.LayerError("using", layer.ID, &fs.PathError{Op: "lstat", Path: layer.Dir(), Err: err})
		}
		if l.stamps[n] = stampOf(&st); f.boot != "" {
			if l.stamps[n], err = imageStamp(layer, f.diff, f.boot, l.stamps[n]); err != nil {
				l.Close()
				return nil, store.LayerError("using", layer.ID, err)
			}
		}
	}
	return l, nil
}

// open opens the home of the layer, unless it is open.
func (l *Look) open(layer store.Layer) (*from, error) {
	if f := l.opened[layer.Home]; f != nil {
		return f, nil
	}
	diff, err := fsutil.OpenTree(layer.Home.Diff(""))
	if err != nil {
		return nil, err
	}
	f := &from{diff: diff, links: -1, places: l.places(layer)}
	l.opened[layer.Home] = f
	if fd, err := fsutil.OpenTree(l.Known(layer.Home, l.To)); err == nil {
		f.links = fd
	}
	if !l.IsOwn(layer) {
		f.boot = bootStamp()
	}
	return f, nil
}

// Close closes the directories that the Look has opened.
func (l *Look) Close() {
	for _, f := range l.opened {
		_ = unix.Close(f.diff) // it was only read
		if f.links >= 0 {
			_ = unix.Close(f.links) // it was only read
		}
	}
	l.opened = nil
}

// stampOf returns a stamp that tells one state of a layer from another, as far as the layer's root directory shows it. That is enough if
// the driver changes the layer, because it then calls store.Home.Invalidate. It is also enough if aufs has changed the layer, because aufs
// leaves files in the root directory of its writable branch.
func stampOf(st *unix.Stat_t) string {
	stamp := make([]byte, 0, 64)
	stamp = strconv.AppendUint(stamp, st.Ino, 36)
	for _, time := range []unix.Timespec{st.Ctim, st.Mtim} {
		stamp = strconv.AppendInt(append(stamp, '.'), time.Nano(), 36)
	}
	return string(stamp)
}

// stackedStamp returns the stamp of the layer n and all layers below it.
func (l *Look) stackedStamp(n int) string {
	if l.stacked == nil {
		l.stacked = stackStamps(l.stamps)
	}
	return l.stacked[n]
}

// stackStamps makes, from the stamp of each layer, the stamp of that layer and all layers below it.
func stackStamps(stamps []string) []string {
	stacked, below := make([]string, len(stamps)), ""
	for n := len(stamps) - 1; n >= 0; n-- {
		sum := sha256.Sum256([]byte(stamps[n] + " " + below))
		below = hex.EncodeToString(sum[:16])
		stacked[n] = below
	}
	return stacked
}

// Cached returns how the layer n is mounted; ok is false if that has to be found out.
func (l *Look) Cached(n int) (v Shown, ok bool) {
	link := l.link(n)
	if link.version != entryVersion || link.stamp != l.stamp(n, link.has(flagJoined), link.has(flagStacked)) {
		return v, false
	}
	v = Shown{
		Layer: l.layers[n], Dir: l.layers[n].Dir(), Opaque: link.has(flagOpaque), Unread: link.has(flagUnread), Joined: link.has(flagJoined),
	}
	return v, link.digest == flagNone || l.Place(&v, link.digest, link.has(flagAbove), link.has(flagBelow))
}

// link returns the link of the layer n.
func (l *Look) link(n int) cacheEntry {
	link, links := &l.read[n], l.opened[l.layers[n].Home].links
	if link.wasRead || links < 0 {
		return *link
	}
	link.wasRead = true
	var buffer [256]byte
	if length, err := unix.Readlinkat(links, l.layers[n].ID, buffer[:]); err == nil {
		var rest string
		link.version, rest, _ = strings.Cut(string(buffer[:length]), " ")
		link.flags, rest, _ = strings.Cut(rest, " ")
		link.digest, link.stamp, _ = strings.Cut(rest, " ")
	}
	return *link
}

// stamp returns the stamp that the link of the layer n must have. If the layer's shadow is joined with the parent's, the stamp covers the
// parent and the parent's shadows as well.
func (l *Look) stamp(n int, joined, stacked bool) string {
	switch {
	case joined && n+1 < len(l.layers):
		sum := sha256.Sum256([]byte(l.stamps[n] + " " + l.stamps[n+1] + " " + l.link(n+1).digest))
		return hex.EncodeToString(sum[:16])
	case stacked:
		return l.stackedStamp(n)
	}
	return l.stamps[n]
}

// Place puts the shadows of the layer v with this digest into v, and reports whether it has found them.
func (l *Look) Place(v *Shown, digest string, above, below bool) bool {
	for _, place := range l.opened[v.Home].places {
		dir := place + "/" + v.ID + "/" + digest
		if !store.IsThere(dir) {
			continue
		}
		if above {
			v.Above = dir + "/" + DirAbove
		}
		if below {
			v.Below = dir + "/" + DirBelow
		}
		return true
	}
	return false
}

// aboveParent returns the shadow above the second layer, to be joined with the shadow below the first. It returns "" if there is none, or
// if the second layer has no valid entry.
func (l *Look) aboveParent() string {
	if l.To == whiteout.AufsForm || len(l.layers) < 2 {
		return ""
	}
	if parent, ok := l.Cached(1); ok {
		return parent.Above
	}
	return ""
}

// cachedFrom reports whether the layer n and all layers below it have valid entries.
func (l *Look) cachedFrom(n int) bool {
	for ; n < len(l.layers); n++ {
		if _, ok := l.Cached(n); !ok {
			return false
		}
	}
	return true
}

// keep writes the link of the layer, which Cached then reads. If keep fails, the next mount finds everything out again.
func (s *Cache) keep(layer store.Layer, v Shown, p Plan, digest, stamp string) {
	flags := ""
	for _, f := range []struct {
		flag string
		is   bool
	}{{flagOpaque, v.Opaque}, {flagUnread, v.Unread}, {flagStacked, p.Stacked}, {flagAbove, v.Above != ""}, {flagBelow, v.Below != ""}, {flagJoined, v.Joined}} {
		if f.is {
			flags += f.flag
		}
	}
	if flags == "" {
		flags = flagNone
	}
	if digest == "" {
		digest = flagNone
	}
	target := strings.Join([]string{entryVersion, flags, digest, stamp}, " ")
	dir := s.Known(layer.Home, s.To)
	if err := store.LinkIn(target, dir, layer.ID); errors.Is(err, fs.ErrExist) {
		_ = s.Home.ReplaceLink(target, filepath.Join(dir, layer.ID)) // see above
	}
}

// Links returns the directory of the links for the layers of home.
func (s *Cache) Links() string { return s.Known(s.Home, s.To) }

// Unmarked reports whether the cache says that the layer id of home has no marks.
func (s *Cache) Unmarked(id string) bool {
	look, err := s.LookAt([]store.Layer{s.Own(id)})
	if err != nil {
		return false
	}
	defer look.Close()
	v, ok := look.Cached(0)
	return ok && s.To != whiteout.AufsForm && v.Above == "" && v.Below == "" && !v.Opaque
}
