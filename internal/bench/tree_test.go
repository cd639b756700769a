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

// A tree describes the contents of a layer.
type tree struct {
	files  int
	size   int64 // of each file
	depth  int   // how many directories are above a file, at least one
	gone   int   // how many whiteouts there are, for the files that goner counts
	goner  int   // how many files there are for whiteouts in other layers
	prefix string
}

// filesInDir is how many files are in one directory.
const filesInDir = 100

// small and large are the sizes of files.
const (
	small = 1 << 10
	large = 32 << 10
)

// file returns the name of a tree's file.
func (t tree) file(i int) string {
	dir := fmt.Sprintf("%sd%d", t.prefix, i/filesInDir)
	for level := 1; level < t.depth; level++ {
		dir = path.Join(dir, fmt.Sprintf("level-%d", level))
	}
	return path.Join(dir, fmt.Sprintf("file-%d", i))
}

// gonerFile returns the name of a file that exists to be deleted.
func gonerFile(i int) string { return fmt.Sprintf("goners/goner-%d", i) }

// onTop returns the tree with whiteouts of files of below added, one for every ten files of the tree.
func (t tree) onTop() tree {
	t.gone = max(1, t.files/10)
	return t
}

// below returns the tree for the layer below onTop.
func (t tree) below() tree {
	return tree{files: 1, size: small, prefix: "below-", goner: max(1, t.files/10)}
}

// entries returns the number of files and whiteouts in an archive of the tree.
func (t tree) entries() int { return t.files + t.gone + t.goner }

// open opens an archive of the tree. All drivers read the same file, which the first caller makes.
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

// A treeWriter writes files and the directories above them.
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

// countEntries counts the files and whiteouts of an archive whose other entries are all
// directories.
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
