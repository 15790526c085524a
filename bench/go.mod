module github.com/merlon-go/merlon/bench

go 1.26.5

require github.com/merlon-go/merlon v0.0.0

replace github.com/merlon-go/merlon => ../
