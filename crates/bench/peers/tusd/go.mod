module heapline.invalid/bench/tusd

go 1.25

require github.com/tus/tusd/v2 v2.8.0
