// Command pprofcheck reads heap profiles with google/pprof's own library: each must be valid, and all of them must
// merge. It prints a line for each file and one for the merged profile: sample types, default type, sums, samples, comments.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/pprof/profile"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(paths []string) error {
	var all []*profile.Profile
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		parsed, err := profile.Parse(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := parsed.CheckValid(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		tell(parsed)
		all = append(all, parsed)
	}
	merged, err := profile.Merge(all)
	if err != nil {
		return err
	}
	if err := merged.CheckValid(); err != nil {
		return err
	}
	tell(merged)
	return nil
}

func tell(p *profile.Profile) {
	var types, sums []string
	for i, kind := range p.SampleType {
		var sum int64
		for _, sample := range p.Sample {
			sum += sample.Value[i]
		}
		types = append(types, kind.Type+"/"+kind.Unit)
		sums = append(sums, fmt.Sprint(sum))
	}
	fmt.Printf("types=%s default=%s sums=%s samples=%d comments=%d\n",
		strings.Join(types, ","), p.DefaultSampleType, strings.Join(sums, ","), len(p.Sample), len(p.Comments))
}
