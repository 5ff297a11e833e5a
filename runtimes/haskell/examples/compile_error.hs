main :: IO ()
main = do
  let answer = "forty-two" :: Int
  print answer
