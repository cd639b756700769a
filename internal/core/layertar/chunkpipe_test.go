//go:build linux

package layertar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/seed-642172e2/aufs/internal/core/layertar"
)

// TestChunkPipe writes with and without Room, and reads in the ways that readers may.
func TestChunkPipe(t *testing.T) {
	for _, size := range []int{0, 1, layertar.FirstChunk, layertar.FirstChunk + 1, 3*layertar.Chunk + 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			content := testContent(size)
			reader, writer := layertar.NewChunkPipe()
			go func() {
				rest := content
				for n := 1; len(rest) > 0; n = n*3 + 1 {
					piece := rest[:min(n, len(rest))]
					if n%2 == 0 {
						room, err := writer.Room()
						if err != nil {
							panic(err)
						}
						piece = room[:copy(room, piece)]
					}
					if written, err := writer.Write(piece); written != len(piece) || err != nil {
						panic(fmt.Sprint(written, err))
					}
					rest = rest[len(piece):]
				}
				writer.End(nil)
			}()
			must(t, iotest.TestReader(reader, content))
			must(t, reader.Close())
		})
	}
}

func TestChunkPipeEnds(t *testing.T) {
	failed := errors.New("it failed")
	reader, writer := layertar.NewChunkPipe()
	go func() {
		_, err := writer.Write([]byte("begun"))
		writer.End(errors.Join(err, failed))
	}()
	got, err := io.ReadAll(reader)
	if string(got) != "begun" || !errors.Is(err, failed) {
		t.Errorf("got %q, %v", got, err)
	}

	reader, writer = layertar.NewChunkPipe()
	written := make(chan error)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{writer}, bytes.NewReader(testContent(10*layertar.Chunk)))
		writer.End(err)
		written <- err
	}()
	_, err = io.ReadFull(reader, make([]byte, layertar.Chunk+1))
	must(t, err)
	must(t, errors.Join(reader.Close(), reader.Close()))
	if err := <-written; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing to what is closed: %v", err)
	}

	reader, writer = layertar.NewChunkPipe()
	read := make(chan error)
	go func() {
		_, err := reader.Read(make([]byte, 1))
		read <- err
	}()
	must(t, reader.Close())
	if err := <-read; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("reading from what is closed: %v", err)
	}
	writer.End(nil)
}

// TestChunkPipeSettle checks that everything has been read when Settle returns.
func TestChunkPipeSettle(t *testing.T) {
	r, w := layertar.NewChunkPipe()
	read := make(chan string, 10)
	go func() {
		defer close(read)
		for b := make([]byte, 1); ; {
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			read <- string(b)
		}
	}()
	for _, content := range []string{"", "ab", "c"} {
		_, err := io.WriteString(w, content)
		must(t, errors.Join(err, w.Settle()))
		for _, want := range content {
			select {
			case got := <-read:
				if got != string(want) {
					t.Errorf("%q was read, and %q was written", got, string(want))
				}
			default:
				t.Errorf("%q is not read yet", string(want))
			}
		}
	}
	must(t, r.Close())
	if err := w.Settle(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("once it is closed: %v", err)
	}
}
