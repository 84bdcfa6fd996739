# cmake -DIN=FILE -DOUT=FILE.c -DNAME=symbol -P embed.cmake: a file as a C array with a terminating zero, and its size.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "const unsigned char ${NAME}[] = {${bytes}0};\nconst unsigned long ${NAME}_size = ${size};\n")
