//! Inputs that look like what the targets are for: made of the words of each language, right and wrong, with some noise.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): chance that can be repeated.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % n as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    fn pick<'a>(&mut self, words: &[&'a [u8]]) -> &'a [u8] {
        words[self.below(words.len())]
    }

    /// Up to `count_max` words, a little noise between them, and now and then a long run of one byte.
    fn words(&mut self, words: &[&[u8]], count_max: usize, into: &mut Vec<u8>) {
        for _ in 0..self.below(count_max + 1) {
            match self.below(40) {
                0 => (0..self.below(20)).for_each(|_| into.push(self.byte())),
                1 => into.extend(core::iter::repeat_n(b'x', self.below(3000))),
                2 => into.push(self.byte()),
                _ => into.extend_from_slice(self.pick(words)),
            }
        }
    }
}

/// A dialogue for the target `server`.
pub fn dialogue(random: &mut Random) -> Vec<u8> {
    const OPENED: &[u8] = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    const WORDS: &[&[u8]] = &[
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME RET=FULL ENVID=x\r\n",
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"RCPT TO:<c@d.example> NOTIFY=NEVER ORCPT=rfc822;x\r\n",
        b"DATA\r\n",
        OPENED,
        b"Received: x\r\n",
        b"\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"..\r\n",
        b".",
        b"\r",
        b"\n",
        b"\0",
        b"\r\n.\n",
        b"\n.\r\n",
        b"\r\n.\r",
        b"\r\r\n",
        b"text",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"BDAT 4 LAST\r\n\r\n.\r",
        b"BDAT 6\r\nRSET\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 30\r\n",
        b"BDAT x\r\n",
        b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        b"MAIL FROM:<\xc3\xa9@b.example> SMTPUTF8\r\n",
        b"ETRN example.com\r\n",
        b"STARTTLS\r\n",
        b"QUIT\r\n",
        b"\xc3\xa9",
    ];
    // Seldom refused, so that messages come about.
    let verdicts = if random.below(2) == 0 { 0 } else { random.byte() & random.byte() };
    let mut input = vec![random.byte() & random.byte(), random.byte(), verdicts];
    if random.below(2) == 0 {
        input.extend_from_slice(OPENED);
    }
    random.words(WORDS, 40, &mut input);
    input
}

const REPLIES: &[&[u8]] = &[
    b"220 x\r\n",
    b"220-x\r\n220 y\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 DSN\r\n",
    b"250-x\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-SMTPUTF8\r\n250 STARTTLS\r\n",
    b"250 ok\r\n",
    b"250 2.1.0 ok\r\n",
    b"354 go\r\n",
    b"550 5.1.1 no\r\n",
    b"550-5.1.1 no\r\n550 5.1.1 never\r\n",
    b"421 4.3.2 bye\r\n",
    b"250-",
    b"250-x\n",
    b"\r\n",
    b"221 bye\r\n",
    b"500 what\r\n",
    b"4.7.1 ",
];

/// A server for the target `client`, and what its caller does.
pub fn replies_with_choices(random: &mut Random) -> Vec<u8> {
    let count = 1 + random.below(40);
    let mut input = vec![u8::try_from(count).unwrap()];
    input.extend((0..count).map(|_| random.byte()));
    input.push(random.byte());
    if random.below(4) > 0 {
        input.extend_from_slice(
            b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 DSN\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        );
    }
    random.words(REPLIES, 30, &mut input);
    input
}

/// Servers for the target `reply`.
pub fn replies(random: &mut Random) -> Vec<u8> {
    let mut input = vec![random.byte()];
    // Often nothing but whole replies, so that one comes after the other.
    if random.below(2) == 0 {
        (0..random.below(200)).for_each(|_| input.extend_from_slice(random.pick(&REPLIES[..10])));
    } else {
        random.words(REPLIES, 20, &mut input);
    }
    input
}

/// What may stand for an address.
pub fn address(random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"a",
        b"b",
        b"@",
        b"@",
        b".",
        b"example",
        b"\"",
        b"\\",
        b" ",
        b"<",
        b">",
        b":",
        b",",
        b"[192.0.2.1]",
        b"[IPv6:2001:db8::1]",
        b"postmaster",
        b"+tag",
        b"_",
        b"-",
        b"\xc3\xa9",
        b"\t",
        b"SIZE=1",
        b"\r\n",
        b"\0",
        b"@r.example:",
    ];
    let mut input = Vec::new();
    random.words(WORDS, 8, &mut input);
    if random.below(2) == 0 {
        input.extend_from_slice(b"@example.com");
    }
    input
}

/// A settings file: the printed defaults with something done to them.
pub fn settings(random: &mut Random) -> Vec<u8> {
    let defaults = penstock_settings::defaults_text();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in defaults.lines().filter(|line| !line.starts_with("# ") || line.contains(" = ")) {
        match random.below(12) {
            0 => {}
            1 => lines.extend([line.as_bytes().to_vec(), line.as_bytes().to_vec()]),
            2 => lines.push(line.trim_start_matches("# ").as_bytes().to_vec()),
            3 => {
                let mut line = line.as_bytes().to_vec();
                if !line.is_empty() {
                    let at = random.below(line.len());
                    line[at] = random.byte();
                }
                lines.push(line);
            }
            _ => lines.push(line.as_bytes().to_vec()),
        }
    }
    lines.truncate(1 + random.below(lines.len().max(1)));
    lines.join(&b'\n')
}

/// What is typed for the target `console`.
pub fn typed(random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"status\r",
        b"help\r",
        b"help flash dump\r",
        b"verify\r",
        b"reflash system-b\r",
        b"system-b\r",
        b"reflash system-b\rsystem-b\r",
        b"restart\r",
        b"exit\r",
        b"rescue\r",
        b"script on\r",
        b"script off\r",
        b"spool ",
        b"flash ",
        b"dump ",
        b"boot-state",
        b"ping 10.0.0.1 -c 3",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\x7f",
        b"\x03",
        b"\x15",
        b"\x17",
        b"\x1b[A",
        b"\x1b[B",
        b"\x1b[D",
        b"\x1b[3~",
        b"\x1b",
        b"\x18\x18",
        b"\x04",
        b"\xfe\x01",
        b"\xfe\x0b",
        b"\xfe\x3d",
    ];
    let mut input = vec![random.byte()];
    for _ in 0..=random.below(4) {
        random.words(WORDS, 40, &mut input);
        if random.below(3) == 0 {
            // A block with a right checksum.
            let number = random.pick(&[&[1], &[2], &[0]])[0];
            let data = [random.byte(); 128];
            input.extend([1, number, !number]);
            input.extend(data);
            input.extend(crc_16(&data).to_be_bytes());
        }
    }
    input
}

/// The CRC of XMODEM, in the plainest way.
fn crc_16(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}
