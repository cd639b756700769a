//go:build linux

package layertar

import (
	"errors"
	"io"
	"sync"
)

// A chunkPipe is an io.Pipe with a buffer, for an archive that one goroutine writes and another one reads. While the
// reader reads a chunk, the writer fills the next one. Readers need not read much at a time, and the two goroutines
// change places only once for each chunk.
type chunkPipe struct {
	full   chan []byte   // from the writer to the reader; closed at the end
	free   chan []byte   // from the reader back to the writer
	closed chan struct{} // closed by the reader
	err    error         // what the reader gets at the end; set before full is closed
}

// The sizes of the first chunk and of the largest chunks, in bytes. The first chunk is small, since most archives are,
// and each of the next chunks is larger.
const (
	FirstChunk = 8 << 10
	Chunk      = 256 << 10
)

// NewChunkPipe returns the two ends of a pipe.
func NewChunkPipe() (*ChunkReader, *ChunkWriter) {
	p := &chunkPipe{full: make(chan []byte), free: make(chan []byte, 2), closed: make(chan struct{})}
	return &ChunkReader{chunkPipe: p}, &ChunkWriter{chunkPipe: p, chunk: make([]byte, 0, FirstChunk)}
}

// A ChunkWriter is the end of a pipe that is written to. Only one goroutine may use it.
type ChunkWriter struct {
	*chunkPipe
	chunk []byte
}

// Room returns the free part of the chunk. Data that the caller reads into the beginning of it, and then passes to
// Write, is not copied.
func (w *ChunkWriter) Room() ([]byte, error) {
	if len(w.chunk) == cap(w.chunk) {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	return w.chunk[len(w.chunk):cap(w.chunk)], nil
}

// Write fills chunks, and hands those that are full to the reader. It returns io.ErrClosedPipe if the reader has closed
// its end.
func (w *ChunkWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		room, err := w.Room()
		if err != nil {
			return written, err
		}
		n := copy(room, p)
		w.chunk, p, written = w.chunk[:len(w.chunk)+n], p[n:], written+n
	}
	return written, nil
}

// Settle hands over what has been written, and waits until the reader has read all of it and asks for more.
func (w *ChunkWriter) Settle() error {
	if len(w.chunk) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	select {
	case w.full <- nil:
		return nil
	case <-w.closed:
		return io.ErrClosedPipe
	}
}

// Fill writes all that it reads from r, and calls atCut where r returns ErrCut. It returns the first error of r, except
// io.EOF itself, or of atCut, or io.ErrClosedPipe if the reader has closed its end.
func (w *ChunkWriter) Fill(r io.Reader, atCut func() error) error {
	for {
		room, err := w.Room()
		if err != nil {
			return err
		}
		n, rerr := r.Read(room)
		w.chunk = w.chunk[:len(w.chunk)+n]
		// A wrapped io.EOF is an error: it says what has cut the archive short.
		if rerr == io.EOF {
			return nil
		}
		if errors.Is(rerr, ErrCut) {
			if err := w.Settle(); err != nil {
				return err
			}
			if err := atCut(); err != nil {
				return err
			}
			continue
		}
		if rerr != nil {
			return rerr
		}
	}
}

// flush hands the chunk to the reader, and gets another one.
func (w *ChunkWriter) flush() error {
	if err := w.send(); err != nil {
		return err
	}
	larger := min(4*cap(w.chunk), Chunk)
	select {
	case w.chunk = <-w.free:
		w.chunk = w.chunk[:0]
	default:
		w.chunk = nil
	}
	if cap(w.chunk) < larger {
		w.chunk = make([]byte, 0, larger)
	}
	return nil
}

func (w *ChunkWriter) send() error {
	select {
	case w.full <- w.chunk:
		return nil
	case <-w.closed:
		return io.ErrClosedPipe
	}
}

// End hands over what has been written. After that, the reader gets err, or io.EOF if err is nil.
func (w *ChunkWriter) End(err error) {
	if len(w.chunk) > 0 {
		err = errors.Join(err, w.send())
	}
	if err == nil {
		err = io.EOF
	}
	w.err = err
	close(w.full)
}

// A ChunkReader is the end of a pipe that is read from. It may be closed while another goroutine reads.
type ChunkReader struct {
	*chunkPipe
	chunk, rest []byte // the current chunk, and the part of it that is not read yet
	once        sync.Once
}

// Read reads from one chunk at most.
func (r *ChunkReader) Read(p []byte) (n int, err error) {
	if len(r.rest) == 0 && len(p) > 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next gets the next chunk, and gives the current one back.
func (r *ChunkReader) next() error {
	if r.chunk != nil {
		select {
		case r.free <- r.chunk:
		default:
		}
		r.chunk = nil
	}
	select {
	case <-r.closed:
		return io.ErrClosedPipe
	default:
	}
	for {
		select {
		case chunk, ok := <-r.full:
			if !ok {
				return r.err
			}
			// An empty chunk, which Settle sends, says that everything before it was read.
			if len(chunk) > 0 {
				r.chunk, r.rest = chunk, chunk
				return nil
			}
		case <-r.closed:
			return io.ErrClosedPipe
		}
	}
}

// Close makes the writer stop. It may be called again.
func (r *ChunkReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
