// SPDX-License-Identifier: Apache-2.0

// Package measure times several implementations of one job against each other, in one process and on the same input.
//
// A machine that other work shares is noisy, and the noise only ever adds time. So the implementations of a job take
// turns in short rounds, and the fastest round of each is what counts. Only ratios within one run mean anything.
package measure

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"
)

// A Subject is what `go run . NAME` measures: the jobs of one package, and what else its table should tell.
type Subject struct {
	Name string
	Jobs []Job
	Note func(io.Writer) error // prints Markdown below the table, such as a table of wrong answers; nil: nothing
	Done func() error          // cleans up; nil: nothing
}

// A Job is one piece of work that every entry does on the same input. The first entry is ours.
type Job struct {
	Name    string
	Bytes   int64 // input size of one operation, for a MB/s column; 0: none
	Entries []Entry
	Bars    []Bar
}

// An Entry is one implementation. Run does the operation n times.
type Entry struct {
	Name string
	Run  func(n int)
}

// A Bar is a claim about the first entry. Against names the entry it is compared with; empty means that Most is
// nanoseconds for one operation. At least one of AtLeast, Most and Allocs is set.
type Bar struct {
	Against string
	AtLeast float64 // ours must be this many times faster
	Most    float64 // ours may take this many times as long, or this many nanoseconds
	Allocs  *int    // ours may allocate this often in one operation
}

// Faster claims that ours is at least x times faster than the entry of that name.
func Faster(x float64, than string) Bar { return Bar{Against: than, AtLeast: x} }

// AtMost claims that ours takes at most x times as long as the entry of that name.
func AtMost(x float64, of string) Bar { return Bar{Against: of, Most: x} }

// Within claims that one operation of ours takes at most d. It holds on an idle machine only.
func Within(d time.Duration) Bar { return Bar{Most: float64(d.Nanoseconds())} }

// Allocs claims that one operation of ours allocates at most n times.
func Allocs(n int) Bar { return Bar{Allocs: &n} }

// Effort says how long to measure. Smoke is one operation of each entry, to see that all of it still runs.
type Effort struct {
	Rounds int
	Round  time.Duration
	Smoke  bool
}

// Thorough is what published figures are made with.
var Thorough = Effort{Rounds: 15, Round: 30 * time.Millisecond}

// Smoke runs each entry once.
var Smoke = Effort{Rounds: 1, Smoke: true}

type result struct {
	ns     float64
	allocs float64
}

// Report measures the subject and writes its Markdown table. The count is that of bars missed.
func (s Subject) Report(w io.Writer, effort Effort) (missed int, err error) {
	if s.Done != nil {
		defer func() {
			if doneErr := s.Done(); err == nil {
				err = doneErr
			}
		}()
	}
	fmt.Fprintf(w, "\n### %s\n\n| job | implementation | ns/op | allocs/op | MB/s | of ours |\n|---|---|---:|---:|---:|---:|\n", s.Name)
	var verdicts []string
	for _, job := range s.Jobs {
		results := job.measure(effort)
		ours := results[job.Entries[0].Name]
		for _, e := range job.Entries {
			r := results[e.Name]
			speed := ""
			if job.Bytes > 0 {
				speed = fmt.Sprintf("%.0f", float64(job.Bytes)/r.ns*1e3)
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %.2fx |\n", job.Name, e.Name, digits(r.ns), digits(r.allocs), speed, r.ns/ours.ns)
		}
		for _, bar := range job.Bars {
			text, ok := bar.judge(results, ours)
			verdict := "holds"
			if !ok {
				verdict = "MISSED"
				missed++
			}
			verdicts = append(verdicts, fmt.Sprintf("- %s: %s: %s", job.Name, text, verdict))
		}
	}
	if effort.Smoke {
		missed = 0 // one operation is no measurement
	} else if len(verdicts) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(verdicts, "\n"))
	}
	if s.Note != nil {
		fmt.Fprintln(w)
		return missed, s.Note(w)
	}
	return missed, nil
}

func (b Bar) judge(results map[string]result, ours result) (text string, ok bool) {
	if b.Allocs != nil {
		return fmt.Sprintf("at most %d allocations (%s)", *b.Allocs, digits(ours.allocs)), math.Round(ours.allocs) <= float64(*b.Allocs)
	}
	if b.Against == "" {
		return fmt.Sprintf("at most %v (%v)", time.Duration(b.Most), time.Duration(ours.ns)), ours.ns <= b.Most
	}
	peer, found := results[b.Against]
	if !found {
		return fmt.Sprintf("no entry named %q", b.Against), false
	}
	if b.AtLeast > 0 {
		return fmt.Sprintf("at least %gx faster than %s (%.2fx)", b.AtLeast, b.Against, peer.ns/ours.ns), peer.ns >= b.AtLeast*ours.ns
	}
	return fmt.Sprintf("at most %gx the time of %s (%.2fx)", b.Most, b.Against, ours.ns/peer.ns), ours.ns <= b.Most*peer.ns
}

// measure lets the entries take turns and keeps the fastest round of each.
func (j Job) measure(effort Effort) map[string]result {
	results := make(map[string]result, len(j.Entries))
	counts := make([]int, len(j.Entries))
	for i, e := range j.Entries {
		e.Run(1) // pools, tables and caches fill here
		counts[i] = 1
		if !effort.Smoke {
			counts[i] = calibrate(e, effort.Round)
		}
		results[e.Name] = result{ns: math.Inf(1), allocs: allocations(e, min(counts[i], 1000))}
	}
	for range effort.Rounds {
		for i, e := range j.Entries {
			start := time.Now()
			e.Run(counts[i])
			ns := float64(time.Since(start).Nanoseconds()) / float64(counts[i])
			r := results[e.Name]
			r.ns = min(r.ns, ns)
			results[e.Name] = r
		}
	}
	return results
}

// calibrate finds how many operations fill a round.
func calibrate(e Entry, round time.Duration) int {
	for n := 1; ; {
		start := time.Now()
		e.Run(n)
		took := time.Since(start)
		if took >= round/2 {
			return max(1, int(float64(n)*float64(round)/float64(took)))
		}
		n *= 2
	}
}

func allocations(e Entry, n int) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e.Run(n)
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

func digits(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.0f", v)
}
