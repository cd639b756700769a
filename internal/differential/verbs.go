//go:build linux

package differential

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The kinds of arguments.
const (
	argPath   = 'p' // of a file in the tree, from the tree's root
	argNumber = 'n'
	argText   = 't'
)

// A verb is a kind of operation.
type verb struct {
	args string // the kinds of its arguments
	// do carries out the verb in the tree at root. Its error is a unix.Errno,
	// or wraps one.
	do func(root string, a args) error
	// These are indices of arguments. copiesUp are files that a union file
	// system copies up for the operation. changes are files that are made, or
	// whose content changes. changesDir are files whose parent directory
	// changes.
	copiesUp, changes, changesDir []int
	// subtree says that everything below the named files changes with them.
	subtree bool
}

// args are the arguments of an operation.
type args []string

// number returns an argument that is a number, as Parse has checked.
func (a args) number(i int) int64 {
	n, err := strconv.ParseInt(a[i], 0, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// path returns where the path in argument i is in the tree at root.
func (a args) path(root string, i int) string { return filepath.Join(root, a[i]) }

// remount is the one verb that the runner carries out, because it is not about
// a tree.
const remount = "remount"

// moveDir is a verb that no script has. It does what applications do when
// rename fails with EXDEV.
const moveDir = "move"

// verbs are all verbs. Files are made with their mode, whatever the umask is.
var verbs = map[string]verb{
	// create PATH MODE SIZE SEED
	"create": {args: "pnnn", do: create, changes: []int{0}, changesDir: []int{0}},
	// write PATH SIZE SEED replaces all content.
	"write": {args: "pnn", do: write, copiesUp: []int{0}, changes: []int{0}},
	// append PATH SIZE SEED
	"append": {args: "pnn", do: appendTo, copiesUp: []int{0}, changes: []int{0}},
	// truncate PATH SIZE; what is added is a hole.
	"truncate": {args: "pn", do: truncate, copiesUp: []int{0}, changes: []int{0}},
	// chmod PATH MODE
	"chmod": {args: "pn", do: chmod, copiesUp: []int{0}},
	// chown PATH UID GID; it changes a symlink itself.
	"chown": {args: "pnn", do: chown, copiesUp: []int{0}},
	// setxattr PATH NAME VALUE
	"setxattr": {args: "ptt", do: setxattr, copiesUp: []int{0}},
	// removexattr PATH NAME
	"removexattr": {args: "pt", do: removexattr, copiesUp: []int{0}},
	// mkdir PATH MODE
	"mkdir": {args: "pn", do: mkdir, changes: []int{0}, changesDir: []int{0}},
	// rmdir PATH
	"rmdir": {args: "p", do: rmdir, changesDir: []int{0}},
	// rename FROM TO
	"rename": {args: "pp", do: rename, copiesUp: []int{0}, changesDir: []int{0, 1}, subtree: true},
	// symlink PATH TARGET
	"symlink": {args: "pt", do: symlink, changes: []int{0}, changesDir: []int{0}},
	// link FROM TO
	"link": {args: "pp", do: link, copiesUp: []int{0}, changesDir: []int{1}},
	// mknod PATH MODE MAJOR MINOR; the mode has the type.
	"mknod": {args: "pnnn", do: mknod, changes: []int{0}, changesDir: []int{0}},
	// unlink PATH
	"unlink": {args: "p", do: unlink, changesDir: []int{0}},
	// removeall PATH
	"removeall": {args: "p", do: removeAll, changesDir: []int{0}, subtree: true},
	moveDir:     {args: "pp", do: moveByCopy, changesDir: []int{0, 1}, subtree: true},
	remount:     {},
}

func create(root string, a args) error {
	f, err := os.OpenFile(a.path(root, 0), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return fill(f, a.number(2), a.number(3), func() error {
		return unix.Fchmod(int(f.Fd()), uint32(a.number(1)))
	})
}

func write(root string, a args) error {
	f, err := os.OpenFile(a.path(root, 0), os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return fill(f, a.number(1), a.number(2), nil)
}

func appendTo(root string, a args) error {
	f, err := os.OpenFile(a.path(root, 0), os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return fill(f, a.number(1), a.number(2), nil)
}

// fill writes size bytes that depend on the seed, calls last unless it is nil,
// and closes the file.
func fill(f *os.File, size, seed int64, last func() error) error {
	content := make([]byte, size)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	_, err := f.Write(content)
	if err == nil && last != nil {
		err = last()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

func truncate(root string, a args) error {
	f, err := os.OpenFile(a.path(root, 0), os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(a.number(1))
}

func chmod(root string, a args) error {
	return unix.Chmod(a.path(root, 0), uint32(a.number(1)))
}

func chown(root string, a args) error {
	return unix.Lchown(a.path(root, 0), int(a.number(1)), int(a.number(2)))
}

func setxattr(root string, a args) error {
	return unix.Lsetxattr(a.path(root, 0), a[1], []byte(a[2]), 0)
}

func removexattr(root string, a args) error {
	return unix.Lremovexattr(a.path(root, 0), a[1])
}

func mkdir(root string, a args) error {
	if err := unix.Mkdir(a.path(root, 0), 0o700); err != nil {
		return err
	}
	return unix.Chmod(a.path(root, 0), uint32(a.number(1)))
}

func rmdir(root string, a args) error { return unix.Rmdir(a.path(root, 0)) }

// rename does not use os.Rename, which refuses to replace an empty directory.
func rename(root string, a args) error { return unix.Rename(a.path(root, 0), a.path(root, 1)) }

func symlink(root string, a args) error { return unix.Symlink(a[1], a.path(root, 0)) }

func link(root string, a args) error { return unix.Link(a.path(root, 0), a.path(root, 1)) }

func mknod(root string, a args) error {
	device := unix.Mkdev(uint32(a.number(2)), uint32(a.number(3)))
	if err := unix.Mknod(a.path(root, 0), uint32(a.number(1)), int(device)); err != nil {
		return err
	}
	return unix.Chmod(a.path(root, 0), uint32(a.number(1))&0o7777)
}

func unlink(root string, a args) error { return unix.Unlink(a.path(root, 0)) }

// removeAll fails if there is nothing to remove, unlike os.RemoveAll.
func removeAll(root string, a args) error {
	if _, err := lstat(a.path(root, 0)); err != nil {
		return err
	}
	return os.RemoveAll(a.path(root, 0))
}

// moveByCopy does what mv does when a directory cannot be renamed.
func moveByCopy(root string, a args) error {
	if err := rmdir(root, a[1:]); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := copyTree(root, a[0], a[1]); err != nil {
		return err
	}
	return removeAll(root, a)
}
