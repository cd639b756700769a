//go:build linux

package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
)

// workerVariable makes the test program a worker. It holds the driver's name and the worker's number.
const workerVariable = "AUFS_BENCH_WORKER"

func isWorker() bool { return os.Getenv(workerVariable) != "" }

// beWorker is the worker. It opens the store. For each line on standard input, it mounts and unmounts its layer, and
// answers with the number of refusals, or with an error. It returns the worker's exit status. A worker named "floor"
// uses no driver.
func beWorker() int {
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func work(in io.Reader, out io.Writer) error {
	name, number, _ := strings.Cut(os.Getenv(workerVariable), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	bare, kind := name == Floor, name
	if bare {
		kind = Ours
	}
	d, ok := driverNamed(kind)
	if !ok {
		return fmt.Errorf("there is no driver %s", kind)
	}
	s, err := d.open(workersStore)
	if err != nil {
		return err
	}
	if err := s.check(workerID(n)); err != nil {
		return err
	}
	do := func() (refused int, err error) { return s.getPutPairs(workerID(n)) }
	if bare {
		stack, done, err := s.bare(workerID(n))
		if err != nil {
			return err
		}
		defer done()
		do = func() (int, error) { return 0, stack.pairs() }
	}
	return profiled(fmt.Sprintf("%s-%d", name, n), func() error { return answerLines(in, out, do) })
}

// profiled calls do. If the program that started the worker writes a CPU profile, profiled writes one beside it.
func profiled(name string, do func() error) error {
	prefix := os.Getenv(profileVariable)
	if prefix == "" {
		return do()
	}
	f, err := os.Create(prefix + "." + name)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// answerLines reports that it is ready, and then answers each line with the result of do.
func answerLines(in io.Reader, out io.Writer, do func() (refused int, err error)) error {
	fmt.Fprintln(out, 0)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		refused, err := do()
		if err != nil {
			return err
		}
		fmt.Fprintln(out, refused)
	}
	return nil
}

// A worker is a process.
type worker struct {
	in  io.WriteCloser
	out *bufio.Reader
}

type workers []worker

// startWorkers starts processes and waits until they are ready. They end with the benchmark.
func startWorkers(b *testing.B, name string, n int) workers {
	b.Helper()
	var all workers
	for i := range n {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", workerVariable, name, i))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		must(b, err)
		out, err := cmd.StdoutPipe()
		must(b, err)
		must(b, cmd.Start())
		// The workers must end before the store is closed, which would unmount their mounts.
		b.Cleanup(func() {
			if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
				b.Errorf("worker: %v", err)
			}
		})
		w := worker{in, bufio.NewReader(out)}
		w.answer(b)
		all = append(all, w)
	}
	return all
}

// doPairs has all workers work at the same time, and returns the number of refusals.
func (w workers) doPairs(b *testing.B) (refused int) {
	b.Helper()
	for _, one := range w {
		_, err := fmt.Fprintln(one.in)
		must(b, err)
	}
	for _, one := range w {
		refused += one.answer(b)
	}
	return refused
}

// answer waits for a worker's answer.
func (w worker) answer(b *testing.B) int {
	b.Helper()
	line, err := w.out.ReadString('\n')
	must(b, err)
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		b.Fatalf("worker: %s", line)
	}
	return n
}
