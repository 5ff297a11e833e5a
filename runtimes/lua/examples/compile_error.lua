print("before")
if true the
  print("never")
end
