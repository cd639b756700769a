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

// What was found out about a layer that nobody has had mounted writable is kept in a symbolic link, one for each form that a backend reads:
//
//	overlay/known/<form>/<id>   VERSION FLAGS DIGEST STAMP
//
// It is a cache, like shadows. A layer that was mounted writable is looked through by each mount that has it as an ancestor in another form:
// somebody may have changed it deep inside.

// knownVersion begins each link. It changes when something else is made of the same layers.
const knownVersion = "1"

// The flags of a link.
const (
	flagOpaque  = "o" // no layer below shows through
	flagUnread  = "u" // the marks of the layer's own directory are not to count
	flagStacked = "s" // the stamp is that of the layer and all below it
	flagAbove   = "a" // there is a shadow above the layer
	flagBelow   = "b" // there is one below it
	flagJoined  = "j" // that has all that is above the parent, and the stamp is that of both
	flagNone    = "-" // in the place of flags, or of a digest
)

// A Look reads what is known of the layers of a stack, from open directories: the kernel goes the way to them once.
type Look struct {
	*Cache
	layers  []string
	stamps  []string
	stacked []string    // the stamps of each layer and all below it, once they are wanted
	links   int         // the directory of the links; -1: there is none
	read    []knownLink // the links, each once it was read: what is found in one and what is made of that go together
	places  []string    // the directories that shadows can be in
}

// A knownLink is what a link says; all of it is "" if there is none.
type knownLink struct {
	version, flags, digest, stamp string

	wasRead bool
}

func (k knownLink) has(flag string) bool { return strings.Contains(k.flags, flag) }

// LookAt begins a look at what is known of layers, a stack of which they are. It has to be closed.
func (s *Cache) LookAt(layers []string) (*Look, error) {
	diff, err := fsutil.OpenTree(s.Home.Diff(""))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: s.Home.Diff(""), Err: err}
	}
	defer unix.Close(diff)
	l := &Look{Cache: s, layers: layers, stamps: make([]string, len(layers)), read: make([]knownLink, len(layers)), links: -1, places: s.places()}
	for n, layer := range layers {
		var st unix.Stat_t
		err := unix.Fstatat(diff, layer, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			// A stack without it would show, without a word, another tree.
			return nil, store.LayerError("using", layer, &fs.PathError{Op: "lstat", Path: s.Home.Diff(layer), Err: err})
		}
		l.stamps[n] = stampOf(&st)
	}
	if fd, err := fsutil.OpenTree(s.Links()); err == nil {
		l.links = fd
	}
	return l, nil
}

// Close ends the look. It only read.
func (l *Look) Close() {
	if l.links >= 0 {
		_ = unix.Close(l.links) // it was only read
	}
}

// stampOf tells one state of a layer from another, as far as its root directory shows it. That is enough where all that changes the layer calls
// forget; and where aufs has had it as its writable branch, that has left files in the root directory.
func stampOf(st *unix.Stat_t) string {
	stamp := make([]byte, 0, 64)
	stamp = strconv.AppendUint(stamp, st.Ino, 36)
	for _, time := range []unix.Timespec{st.Ctim, st.Mtim} {
		stamp = strconv.AppendInt(append(stamp, '.'), time.Nano(), 36)
	}
	return string(stamp)
}

// stackedStamp is the stamp of the layer n and all below it.
func (l *Look) stackedStamp(n int) string {
	if l.stacked == nil {
		l.stacked = stackStamps(l.stamps)
	}
	return l.stacked[n]
}

// stackStamps are the stamps of each of the layers, which have these stamps, and all below it.
func stackStamps(stamps []string) []string {
	stacked, below := make([]string, len(stamps)), ""
	for n := len(stamps) - 1; n >= 0; n-- {
		sum := sha256.Sum256([]byte(stamps[n] + " " + below))
		below = hex.EncodeToString(sum[:16])
		stacked[n] = below
	}
	return stacked
}

// Known is how the layer n is mounted; ok is false if that has to be found out.
func (l *Look) Known(n int) (v Shown, ok bool) {
	link := l.link(n)
	if link.version != knownVersion || link.stamp != l.stamp(n, link.has(flagJoined), link.has(flagStacked)) {
		return v, false
	}
	v = Shown{
		ID: l.layers[n], Dir: l.Home.Diff(l.layers[n]), Opaque: link.has(flagOpaque), Unread: link.has(flagUnread), Joined: link.has(flagJoined),
	}
	return v, link.digest == flagNone || l.Place(&v, link.digest, link.has(flagAbove), link.has(flagBelow))
}

// link is the link of the layer n.
func (l *Look) link(n int) knownLink {
	link := &l.read[n]
	if link.wasRead || l.links < 0 {
		return *link
	}
	link.wasRead = true
	var buffer [256]byte
	if length, err := unix.Readlinkat(l.links, l.layers[n], buffer[:]); err == nil {
		var rest string
		link.version, rest, _ = strings.Cut(string(buffer[:length]), " ")
		link.flags, rest, _ = strings.Cut(rest, " ")
		link.digest, link.stamp, _ = strings.Cut(rest, " ")
	}
	return *link
}

// stamp is what the link of the layer n has to say of it. If its shadow is joined with the parent's, it goes by the parent and its shadows as well.
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

// Place finds the shadows of the layer v that have this digest.
func (l *Look) Place(v *Shown, digest string, above, below bool) bool {
	for _, place := range l.places {
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

// aboveParent is the shadow above the second layer, for one below the first to be joined with. It is "" if there is none, or if that is not to be
// relied on.
func (l *Look) aboveParent() string {
	if l.To == whiteout.AufsForm || len(l.layers) < 2 {
		return ""
	}
	if parent, ok := l.Known(1); ok {
		return parent.Above
	}
	return ""
}

// knowsFrom tells if the layer n, and each one below it, is known.
func (l *Look) knowsFrom(n int) bool {
	for ; n < len(l.layers); n++ {
		if _, ok := l.Known(n); !ok {
			return false
		}
	}
	return true
}

// keep is for the next known. What cannot be kept is found out again.
func (s *Cache) keep(id string, v Shown, p Plan, digest, stamp string) {
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
	target := strings.Join([]string{knownVersion, flags, digest, stamp}, " ")
	if err := store.LinkIn(target, s.Links(), id); errors.Is(err, fs.ErrExist) {
		_ = s.Home.ReplaceLink(target, filepath.Join(s.Links(), id)) // see above
	}
}

// Links is the directory of the links.
func (s *Cache) Links() string { return s.Home.Overlay(store.KnownDir, string(s.To)) }

// Unmarked tells if the layer id is known to have no marks.
func (s *Cache) Unmarked(id string) bool {
	look, err := s.LookAt([]string{id})
	if err != nil {
		return false
	}
	defer look.Close()
	v, ok := look.Known(0)
	return ok && s.To != whiteout.AufsForm && v.Above == "" && v.Below == "" && !v.Opaque
}
