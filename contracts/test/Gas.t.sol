// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Values} from "../src/interfaces/IParams.sol";
import {ChannelConfig, EpochClaim, Item, Opening, PPM, Share} from "../src/interfaces/Types.sol";
import {Measured} from "./support/Measured.sol";
import {Receipts} from "./support/Receipts.sol";
import {vm} from "./support/Vm.sol";

/// @notice See {Measured}. A claim of ten lanes stands for a hundred receipts in each: only those that are drawn are
/// ever sent to the chain.
/// forge-config: default.isolate = true
contract GasTest is Receipts, Measured {
    uint256 private constant LANES = 10;
    uint256 private constant PER_LANE = 10;
    uint256 private constant MANY = 100;
    uint256 private constant FIRST_KEY = 0xA0000;

    uint256 private _groups = 5;
    bool private _toKeys;

    /// @dev As deep as a tree of a hundred receipts in each lane.
    function _leavesMin() internal pure override returns (uint256) {
        return 1_000;
    }

    /// @dev Ten accounts in each receipt, and as many tens in all as there are groups.
    function _sharesOf(uint256 r, bytes32[] memory ids) internal view override returns (Share[] memory shares) {
        uint256 num = _toKeys ? 1 : 10;
        shares = new Share[](num * ids.length);
        for (uint256 s = 0; s < shares.length; ++s) {
            uint256 n = r % _groups * 10 + s;
            address account = _toKeys ? vm.addr(FIRST_KEY + r) : address(uint160(0xD000 + n));
            shares[s] = Share(ids[0], account, uint32(PPM / num));
        }
    }

    function test_no_transaction_has_grown_or_exceeds_its_bar() public {
        _measureClaims();
        _measurePayers();
        _measurePayouts();
        _measurePushed();
        _measureDatanets();
        _checkBars();
        _checkMargins();
        _compare();
    }

    function _file() internal pure override returns (string memory) {
        return "gas.json";
    }

    function _checkBars() private {
        _bar("claim_10_lanes", 340_000);
        _bar("claim_100_lanes", 100 * 24_000);
        _bar("propose_50_payouts", 290_000);
        _bar("draw", 40_000);
        _bar("withdraw", 60_000);
        _bar("withdraw_100", 100 * 35_000);
        _bar("withdraw_100_rows", 120_000);
    }

    /// @dev What an opening and an account add to a final list: differences, without what every list costs.
    function _checkMargins() private {
        uint256 whole = _gas["finalize_50_known_accounts_4_openings"];
        _gas["an opening"] = (_gas["finalize_50_known_accounts_16_openings"] - whole) / 12;
        _gas["a known account"] = (whole - _gas["finalize_10_known_accounts_4_openings"]) / 40;
        uint256 more = (_gas["finalize_50_new_accounts_4_openings"] - whole) / 50;
        _gas["a new account"] = _gas["a known account"] + more;
        _bar("an opening", 66_000);
        _bar("a known account", 12_000);
        _bar("a new account", 40_000);
    }

    function _measureClaims() private {
        ChannelConfig[] memory configs = _openMany(0, LANES);
        _measureClaim("claim_10_lanes_first", configs, _ids(TWO), 0, 10 * OPEN);
        _measureClaim("claim_10_lanes", configs, _ids(TWO), 10 * OPEN, 20 * OPEN);
        _measureClaim("", configs, _ids(BASE), 0, 10 * OPEN);
        _measureClaim("claim_10_lanes_base_only", configs, _ids(BASE), 10 * OPEN, 20 * OPEN);
        configs = _openMany(1, MANY);
        _measureClaim("claim_100_lanes_first", configs, _ids(TWO), 0, 10 * OPEN);
        _measureClaim("claim_100_lanes", configs, _ids(TWO), 10 * OPEN, 20 * OPEN);
    }

    function _openMany(uint256 salt, uint256 num) private returns (ChannelConfig[] memory configs) {
        configs = new ChannelConfig[](num);
        for (uint256 i = 0; i < num; ++i) configs[i] = _open(uint256(keccak256(abi.encode(salt, i))));
    }

    /// @dev A lane of each channel, all of the last of the adapters.
    function _measureClaim(
        string memory name,
        ChannelConfig[] memory configs,
        bytes32[] memory adapters,
        uint128 from,
        uint128 to
    ) private {
        uint16 adapter = uint16(adapters.length - 1);
        Item[] memory items = new Item[](configs.length);
        for (uint256 i = 0; i < items.length; ++i) items[i] = _lane(configs[i], adapters[adapter], adapter, from, to);
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
        if (bytes(name).length > 0) _note(name);
    }

    function _measurePayers() private {
        ChannelConfig memory config = _config(77);
        vm.startPrank(payer);
        channels.open(config, DEPOSIT);
        _note("open");
        channels.topUp(config, DEPOSIT);
        _note("top_up");
        channels.startWithdraw(config, DEPOSIT);
        _note("start_withdraw");
        vm.warp(block.timestamp + DELAY);
        channels.finishWithdraw(config);
        _note("finish_withdraw");
        vm.stopPrank();
    }

    function _measureDatanets() private {
        bytes32[] memory rows = new bytes32[](MANY);
        for (uint256 i = 0; i < rows.length; ++i) rows[i] = keccak256(abi.encode(i));
        vm.prank(alice);
        datanets.withdrawRows(first, alice, rows, "");
        _note("withdraw_100_rows");
        datanets.commit("rows and salt");
        _note("commit_rows");
        vm.startPrank(curator);
        datanets.publish(first, "rows 1", "people 1");
        _note("publish_version");
        address[] memory three = _ascending();
        datanets.setCurators(first, three, 2);
        _note("set_3_curators");
        datanets.describe(first, string(new bytes(1_000)));
        _note("describe_1000_bytes");
        bytes[] memory signed = new bytes[](2);
        for (uint256 i = 0; i < 2; ++i) signed[i] = _approval(three[i], 2);
        datanets.publishApproved(first, "rows 2", "people 2", signed);
        _note("publish_version_2_of_3");
        vm.stopPrank();
    }

    function _ascending() private view returns (address[] memory three) {
        three = new address[](3);
        (three[0], three[1], three[2]) = (node, signer, payer);
        for (uint256 i = 1; i < 3; ++i) {
            for (uint256 at = i; at > 0 && three[at] < three[at - 1]; --at) {
                (three[at], three[at - 1]) = (three[at - 1], three[at]);
            }
        }
    }

    function _approval(address by, uint32 version) private view returns (bytes memory) {
        bytes32 kind =
            keccak256("ApproveVersion(bytes32 datanetId,uint32 version,bytes32 rowsRoot,bytes32 contributorsRoot)");
        bytes32 content = keccak256(abi.encode(kind, first, version, bytes32("rows 2"), bytes32("people 2")));
        uint256 key = by == node ? NODE_KEY : by == signer ? SIGNER_KEY : PAYER_KEY;
        return _sign(key, _typed("OpenLedgerDatanets", address(datanets), content));
    }

    /// @dev Ten lanes, fifty accounts; then the same again, when each has a balance.
    function _measurePayouts() private {
        ChannelConfig[] memory configs = _openMany(2, LANES);
        Book memory book = _claimAll(configs, 0, PER_LANE);
        _proposeBook(book);
        _note("propose_50_payouts");
        vm.warp(block.timestamp + windows().window);
        _draw(book.record, "seed");
        _note("draw");
        _measureFinal(book, "finalize_50_new_accounts_4_openings");
        _measureList(configs, 1, "finalize_50_known_accounts_4_openings");
        _groups = 1;
        _measureList(configs, 2, "finalize_10_known_accounts_4_openings");
        _groups = 5;
        _mostDraws();
        _measureList(configs, 3, "finalize_50_known_accounts_16_openings");
        vm.prank(maker);
        token.transfer(alice, 1);
        _note("token_transfer");
        vm.prank(book.payouts[0].account);
        rewards.setPayout(alice, false);
        _note("set_payout");
        address[] memory accounts = new address[](1);
        accounts[0] = book.payouts[0].account;
        rewards.withdraw(accounts);
        _note("withdraw");
    }

    function _measureList(ChannelConfig[] memory configs, uint128 n, string memory name) private {
        Book memory book = _claimAll(configs, n * 10 * OPEN, PER_LANE);
        _drawn(book, "seed");
        _measureFinal(book, name);
    }

    function _measureFinal(Book memory book, string memory name) private {
        (Opening[] memory openings,) = _openings(book, "seed");
        rewards.finalize(book.record, book.payouts, openings);
        _note(name);
    }

    function _mostDraws() private {
        Values memory v = values();
        v.draws = 16;
        vm.prank(governor);
        params.set(v);
        _note("set_values");
        vm.warp(block.timestamp + 2 days);
    }

    function _claimAll(ChannelConfig[] memory configs, uint128 from, uint256 perItem) private returns (Book memory) {
        Item[] memory items = new Item[](configs.length);
        for (uint256 i = 0; i < items.length; ++i) items[i] = _lane(configs[i], TWO, 0, from, from + 10 * OPEN);
        return _book(_claim(_ids(TWO), items), _ids(TWO), items, perItem);
    }

    /// @dev A hundred contributors that somebody else has paid, each to a wallet that has OPEN already.
    function _measurePushed() private {
        _toKeys = true;
        _finalize(_claimAll(_openMany(3, 1), 0, MANY));
        address[] memory accounts = new address[](MANY);
        for (uint256 i = 0; i < MANY; ++i) {
            accounts[i] = vm.addr(FIRST_KEY + i);
            token.transfer(accounts[i], 1);
        }
        rewards.withdraw(accounts);
        _note("withdraw_100");
        yes("all are paid", token.balanceOf(vm.addr(FIRST_KEY + MANY - 1)) > 1);
    }
}
