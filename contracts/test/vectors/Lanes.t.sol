// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, EpochClaim, Item, Payout, Share} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice Golden values of one claim, from its channels to its drawn points, for implementations in other languages.
/// The contracts accept every signature and every proof of it. `VECTORS_WRITE=true npm test` writes lanes.json anew.
contract LanesVectorsTest is Receipts {
    string private constant FILE = "test/vectors/lanes.json";

    string private _text;
    bool private _hasRules;

    /// @dev Two accounts in each Datanet; of every third receipt the payer knows nothing.
    function _sharesOf(uint256 r, bytes32[] memory ids) internal view override returns (Share[] memory shares) {
        shares = new Share[](2 * ids.length);
        for (uint256 d = 0; d < ids.length; ++d) {
            shares[2 * d] = Share(ids[d], r == 3 ? address(0) : alice, 333_333);
            shares[2 * d + 1] = Share(ids[d], bob, 666_667);
        }
    }

    function _isCountersigned(uint256 r) internal pure override returns (bool) {
        return r % 3 != 2;
    }

    function test_the_golden_values_are_those_of_the_contracts() public {
        ChannelConfig[2] memory configs = [_open(1), _open(2)];
        bytes32[] memory adapters = new bytes32[](3);
        (adapters[1], adapters[2]) = (ONE, TWO);
        Item[] memory items = new Item[](3);
        items[0] = _item(configs[0], 0, 10 * OPEN);
        items[1] = _lane(configs[0], ONE, 1, 0, 7 * OPEN + 1);
        items[2] = _lane(configs[1], TWO, 2, 0, 20 * OPEN);
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        Book memory book = _book(_claim(adapters, items), adapters, items, 2);
        eq("root", book.record.itemsRoot, _itemsRootOf(book));
        _writeSigned(configs[0], epochClaim);
        _writeItems(book, epochClaim);
        _writeReceipts(book);
        _writeList(book);
        _finalize(book);
        string memory text = string.concat("{\"schema\": \"openledger.vectors/1\", \"rules\": {", _text, "\n}}\n");
        if (vm.envOr("VECTORS_WRITE", false)) vm.writeFile(FILE, text);
        eq("lanes.json", keccak256(bytes(vm.readFile(FILE))), keccak256(bytes(text)));
    }

    // ---- what is signed ----

    function _writeSigned(ChannelConfig memory config, EpochClaim memory epochClaim) private {
        bytes32 id = channels.channelId(config);
        string memory at = string.concat(_number("chain_id", block.chainid), _address("contract", address(channels)));
        _rule("channel_id", string.concat(at, _configOf(config)), _quote(id));
        bytes32 kind = keccak256("Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)");
        bytes32 digest = _payments(keccak256(abi.encode(kind, id, ONE, 10 * OPEN)));
        string memory voucher =
            string.concat(_bytes32("channel_id", id), _bytes32("adapter_id", ONE), _wei("max_claimable_wei", 1e19));
        _rule("voucher_digest", string.concat(at, voucher), _quote(digest));
        kind = keccak256("EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash)");
        digest = _payments(keccak256(abi.encode(kind, epochClaim)));
        _rule("claim_digest", string.concat(at, _claimOf(epochClaim)), _quote(digest));
        kind = keccak256("Refund(bytes32 channelId,uint128 amount,uint256 nonce)");
        digest = _payments(keccak256(abi.encode(kind, id, uint128(5), uint256(3))));
        string memory refund = string.concat(_bytes32("channel_id", id), _wei("amount_wei", 5), _number("nonce", 3));
        _rule("refund_digest", string.concat(at, refund), _quote(digest));
        _writeConsent();
    }

    function _writeConsent() private {
        bytes32 kind = keccak256("SignerConsent(address node,uint64 deadline)");
        bytes32 structHash = keccak256(abi.encode(kind, node, uint64(1_800_000_000)));
        string memory input = string.concat(
            _number("chain_id", block.chainid),
            _address("contract", address(staking)),
            _address("node", node),
            _number("deadline_s", 1_800_000_000)
        );
        _rule("signer_consent_digest", input, _quote(_typed("OpenLedgerStaking", address(staking), structHash)));
    }

    function _configOf(ChannelConfig memory config) private pure returns (string memory) {
        return string.concat(
            _address("payer", config.payer),
            _address("authorizer", config.authorizer),
            _address("node", config.node),
            _number("withdraw_delay_s", config.withdrawDelay),
            _bytes32("salt", config.salt)
        );
    }

    function _claimOf(EpochClaim memory epochClaim) private pure returns (string memory) {
        return string.concat(
            _address("node", epochClaim.node),
            _number("seq", epochClaim.seq),
            _number("epoch", epochClaim.epoch),
            _bytes32("items_hash", epochClaim.itemsHash)
        );
    }

    // ---- items and receipts ----

    function _writeItems(Book memory book, EpochClaim memory epochClaim) private {
        string memory list = "";
        for (uint256 i = 0; i < book.items.length; ++i) {
            Item memory item = book.items[i];
            bytes32 adapterId = book.adapters[item.adapter];
            string memory input = string.concat(
                _bytes32("channel_id", channels.channelId(item.config)),
                _bytes32("adapter_id", adapterId),
                _address("authorizer", item.config.authorizer),
                _wei("from_wei", item.from),
                _wei("to_wei", item.to)
            );
            _rule("item_leaf", input, _quote(_leaf(item, adapterId)));
            list = _join(list, string.concat("{", _end(input), "}"));
        }
        _rule("items_hash", string.concat("\"items\": [", list, "], "), _quote(epochClaim.itemsHash));
        _rule("items_root", string.concat("\"items\": [", list, "], "), _quote(book.record.itemsRoot));
    }

    function _writeReceipts(Book memory book) private {
        string memory list = "";
        for (uint256 e = 0; e < book.entries.length; ++e) {
            _rule("receipt_digest", _receiptOf(book.entries[e]), _quote(_digest(book.entries[e])));
        }
        for (uint256 e = 0; e < book.entries.length; ++e) {
            Entry memory entry = book.entries[e];
            bytes32 digest = _digest(entry);
            string memory offsets = "";
            for (uint256 s = 0; s < entry.offsets.length; ++s) {
                offsets = _join(offsets, string.concat("\"", vm.toString(entry.offsets[s]), "\""));
            }
            string memory input = string.concat(
                _bytes32("digest", digest), "\"offsets\": [", offsets, "], ", _wei("amount_wei", entry.receipt.amount)
            );
            _rule("receipt_leaf", input, _quote(_receiptLeaf(digest, entry.offsets)));
            list = _join(list, string.concat("{", _end(input), "}"));
        }
        _rule("receipts_root", string.concat("\"receipts\": [", list, "], "), _quote(_rootOf(book)));
    }

    function _receiptOf(Entry memory entry) private view returns (string memory) {
        string memory receipt = string.concat(
            _number("chain_id", block.chainid),
            _address("contract", address(channels)),
            _bytes32("channel_id", entry.receipt.channelId),
            _number("seq", entry.receipt.seq),
            _number("issued_at_s", entry.receipt.issuedAt),
            _bytes32("adapter_id", entry.receipt.adapterId)
        );
        string memory list = "";
        for (uint256 s = 0; s < entry.shares.length; ++s) list = _join(list, _shareOf(entry.shares[s]));
        receipt = string.concat(
            receipt,
            _wei("amount_wei", entry.receipt.amount),
            _wei("cumulative_wei", entry.receipt.cumulative),
            _number("algo_id", entry.receipt.algoId),
            "\"shares\": [",
            list,
            "], "
        );
        // All other fields of the work are 0.
        return string.concat(receipt, _bytes32("request_id", entry.receipt.work.requestId));
    }

    function _shareOf(Share memory share) private pure returns (string memory) {
        string memory fields = string.concat(
            _bytes32("datanet_id", share.datanetId), _address("account", share.account), _number("ppm", share.ppm)
        );
        return string.concat("{", _end(fields), "}");
    }

    // ---- the list and its points ----

    function _writeList(Book memory book) private {
        string memory list = "";
        for (uint256 i = 0; i < book.payouts.length; ++i) {
            Payout memory payout = book.payouts[i];
            string memory fields = string.concat(
                _number("pot", payout.pot), _address("account", payout.account), _wei("weight", payout.weight)
            );
            list = _join(list, string.concat("{", _end(fields), "}"));
        }
        string memory pots = "";
        for (uint256 i = 0; i < book.record.pots.length; ++i) {
            string memory fields = string.concat(
                _wei("gross_wei", book.record.pots[i].gross), _wei("amount_wei", book.record.pots[i].amount)
            );
            pots = _join(pots, string.concat("{", _end(fields), "}"));
        }
        list = string.concat("\"payouts\": [", list, "], ");
        _rule("payouts_hash", list, _quote(keccak256(abi.encode(book.payouts))));
        string memory input = string.concat(
            _bytes32("seed", "seed"), _address("node", node), _number("seq", 0), "\"pots\": [", pots, "], ", list
        );
        _rule("drawn_points", string.concat(_number("draws", 4), input), _pointsOf(book));
    }

    function _pointsOf(Book memory book) private view returns (string memory list) {
        Drawn[] memory points = _points(book, "seed");
        for (uint256 j = 0; j < points.length; ++j) {
            string memory fields = string.concat(
                _number("pot", points[j].pot), _address("account", points[j].account), _wei("offset", points[j].offset)
            );
            list = _join(list, string.concat("{", _end(fields), "}"));
        }
        return string.concat("[", list, "]");
    }

    // ---- writing ----

    string private _last;

    /// @dev A case of a rule. Cases of one rule follow one another.
    function _rule(string memory name, string memory input, string memory output) private {
        bool isSame = keccak256(bytes(name)) == keccak256(bytes(_last));
        string memory head = isSame ? ",\n  " : string.concat(_hasRules ? ",\n\"" : "\n\"", name, "\": [\n  ");
        _text = string.concat(_unclosed(isSame), head, "{\"input\": {", _end(input), "}, \"output\": ", output, "}]");
        (_last, _hasRules) = (name, true);
    }

    /// @dev The text so far, without the bracket that closes the last rule if that rule goes on.
    function _unclosed(bool isSame) private view returns (string memory) {
        bytes memory text = bytes(_text);
        if (isSame) {
            assembly ("memory-safe") {
                mstore(text, sub(mload(text), 1))
            }
        }
        return string(text);
    }

    /// @dev Without the comma and the space after the last field.
    function _end(string memory fields) private pure returns (string memory) {
        bytes memory text = bytes(fields);
        bytes memory some = new bytes(text.length - 2);
        for (uint256 i = 0; i < some.length; ++i) some[i] = text[i];
        return string(some);
    }

    function _join(string memory list, string memory next) private pure returns (string memory) {
        return bytes(list).length == 0 ? next : string.concat(list, ", ", next);
    }

    function _number(string memory key, uint256 value) private pure returns (string memory) {
        return string.concat("\"", key, "\": ", vm.toString(value), ", ");
    }

    function _wei(string memory key, uint256 value) private pure returns (string memory) {
        return string.concat("\"", key, "\": \"", vm.toString(value), "\", ");
    }

    function _address(string memory key, address value) private pure returns (string memory) {
        return string.concat("\"", key, "\": \"", vm.toString(value), "\", ");
    }

    function _bytes32(string memory key, bytes32 value) private pure returns (string memory) {
        return string.concat("\"", key, "\": ", _quote(value), ", ");
    }

    function _quote(bytes32 value) private pure returns (string memory) {
        return string.concat("\"", vm.toString(value), "\"");
    }
}
