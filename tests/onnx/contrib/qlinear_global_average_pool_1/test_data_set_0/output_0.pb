ByJ
ƒu{h€hn}f