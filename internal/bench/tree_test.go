//go:build linux

package bench

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A tree is what a layer holds.
type tree struct {
	files  int
	size   int64 // of each file
	depth  int   // how many directories are above a file, at least one
	gone   int   // how many whiteouts there are, of files that goner has
	goner  int   // how many files there are for others to have whiteouts of
	prefix string
}

// filesInDir is how many files are in one directory.
const filesInDir = 100

// small and large are the sizes of files.
const (
	small = 1 << 10
	large = 32 << 10
)

// file is the name of a tree's file.
func (t tree) file(i int) string {
	dir := fmt.Sprintf("%sd%d", t.prefix, i/filesInDir)
	for level := 1; level < t.depth; level++ {
		dir = path.Join(dir, fmt.Sprintf("level-%d", level))
	}
	return path.Join(dir, fmt.Sprintf("file-%d", i))
}

// gonerFile is the name of a file that is there to be deleted.
func gonerFile(i int) string { return fmt.Sprintf("goners/goner-%d", i) }

// onTop is a tree that deletes one file of this one for each ten that it has.
func (t tree) onTop() tree {
	t.gone = max(1, t.files/10)
	return t
}

// below is what onTop is to be put on.
func (t tree) below() tree {
	return tree{files: 1, size: small, prefix: "below-", goner: max(1, t.files/10)}
}

// entries is how many files and whiteouts an archive of the tree has.
func (t tree) entries() int { return t.files + t.gone + t.goner }

// open opens an archive of the tree. All drivers read the same one, from a file that the first to want it makes.
func (t tree) open(b *testing.B) *os.File {
	b.Helper()
	name := filepath.Join(workDir(), strings.ReplaceAll(fmt.Sprintf("%+v.tar", t), " ", ","))
	f, err := os.Open(name)
	if err == nil {
		return f
	}
	if !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
	f, err = os.Create(name + ".new")
	must(b, err)
	must(b, t.write(f))
	must(b, os.Rename(f.Name(), name))
	_, err = f.Seek(0, io.SeekStart)
	must(b, err)
	return f
}

// write writes an archive of the tree.
func (t tree) write(w io.Writer) error {
	out := &treeWriter{Writer: tar.NewWriter(w), made: map[string]bool{}, content: make([]byte, t.size+filesInDir)}
	random := rand.New(rand.NewPCG(1, uint64(t.size)))
	for i := range out.content {
		out.content[i] = byte(random.Uint32())
	}
	for i := range t.files {
		if err := out.file(t.file(i), out.content[i%filesInDir:][:t.size]); err != nil {
			return err
		}
	}
	for i := range t.goner {
		if err := out.file(gonerFile(i), []byte("gone")); err != nil {
			return err
		}
	}
	for i := range t.gone {
		dir, name := path.Split(gonerFile(i))
		if err := out.file(dir+".wh."+name, nil); err != nil {
			return err
		}
	}
	return out.Close()
}

// A treeWriter writes files with the directories above them.
type treeWriter struct {
	*tar.Writer
	made    map[string]bool
	content []byte
}

// when is the time of all files.
var when = time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)

func (w *treeWriter) file(name string, content []byte) error {
	if err := w.dirs(path.Dir(name)); err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: when}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func (w *treeWriter) dirs(dir string) error {
	if dir == "." || w.made[dir] {
		return nil
	}
	if err := w.dirs(path.Dir(dir)); err != nil {
		return err
	}
	w.made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: when})
}

// countEntries counts the files and whiteouts of an archive that has no other entries but directories.
func countEntries(b *testing.B, archive io.ReadCloser) (entries int) {
	b.Helper()
	defer archive.Close()
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		must(b, err)
		if header.Typeflag != tar.TypeDir {
			entries++
		}
	}
}
